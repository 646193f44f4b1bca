//! From a table of functions to a running Lambda.

use std::{future::Future, pin::Pin, sync::Arc};

use kernel::ports::Ports;
use lambda_runtime::{Context, Diagnostic, LambdaEvent, service_fn};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tracing::Instrument;

use crate::{
    Answer, Call, Fault,
    edge::{self, Door},
    log,
};

type Running = Pin<Box<dyn Future<Output = Result<Value, Diagnostic>> + Send>>;

/// What one Lambda function does with an invocation.
pub struct Function(Box<dyn Fn(Value, Context) -> Running + Send + Sync>);

impl Function {
    /// Runs one invocation; for tests, which have no Lambda around them.
    ///
    /// # Errors
    /// The function's typed error.
    pub async fn invoke(&self, payload: Value) -> Result<Value, Diagnostic> {
        (self.0)(payload, Context::default()).await
    }
}

/// A command or a query: over HTTP, or invoked directly.
pub fn use_case<S, F, Fut>(state: &Arc<S>, ports: &Ports, run: F) -> Function
where
    S: Send + Sync + 'static,
    F: Fn(Arc<S>, Call) -> Fut + Send + Sync + Copy + 'static,
    Fut: Future<Output = Result<Answer, Fault>> + Send + 'static,
{
    let (state, ports, handler) = (state.clone(), ports.clone(), handler_name());
    Function(Box::new(move |payload, context| {
        let (state, ports, handler) = (state.clone(), ports.clone(), handler.clone());
        Box::pin(async move {
            let xray = context.xray_trace_id.as_deref();
            let (caller, call) = edge::read(payload, &Door { handler: &handler, ports: &ports, xray });
            let span = match &call {
                Ok(call) => span(&handler, &context, call.correlation, call.causation, call.trace.as_ref()),
                Err(_) => {
                    tracing::info_span!("invocation", function = %handler, request = %context.request_id)
                }
            };
            async move {
                let started = ports.clock.now();
                let entity = call.as_ref().ok().and_then(|call| call.target.clone());
                let command = call.as_ref().ok().map(|call| call.command.to_string());
                let result = match call {
                    Ok(call) => run(state, call).await,
                    Err(fault) => Err(fault),
                };
                let ms = ports.clock.now().duration_since(started).as_millis() as i64;
                match &result {
                    Ok(answer) => {
                        let version = answer.version.map(kernel::Version::get);
                        tracing::info!(entity, command, version, ms, "done");
                    }
                    Err(fault) if fault.status >= 500 => {
                        tracing::error!(entity, command, ms, status = fault.status, code = %fault.code, error = %fault, "failed");
                    }
                    Err(fault) => {
                        tracing::info!(entity, command, ms, status = fault.status, code = %fault.code, error = %fault, "refused");
                    }
                }
                edge::write(&caller, result)
            }
            .instrument(span)
            .await
        })
    }))
}

/// A function over some other kind of event.
pub fn raw<E, F, Fut, A>(run: F) -> Function
where
    E: DeserializeOwned + Send + 'static,
    F: Fn(E, Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<A, Fault>> + Send + 'static,
    A: Serialize + 'static,
{
    let handler = handler_name();
    let run = Arc::new(run);
    Function(Box::new(move |payload, context| {
        let span = tracing::info_span!("invocation", function = %handler, request = %context.request_id);
        let run = run.clone();
        Box::pin(
            async move {
                let answer = match serde_json::from_value(payload) {
                    Ok(event) => run(event, context).await,
                    Err(error) => {
                        let message = format!("this function does not understand the event: {error}");
                        Err(Fault::invalid("EVENT_IS_MALFORMED", message))
                    }
                };
                match answer.and_then(|answer| serde_json::to_value(answer).map_err(Fault::internal)) {
                    Ok(value) => Ok(value),
                    Err(fault) => {
                        tracing::error!(code = %fault.code, error = %fault, "failed");
                        Err(edge::diagnostic(&fault))
                    }
                }
            }
            .instrument(span),
        )
    }))
}

fn span(
    handler: &str,
    context: &Context,
    correlation: kernel::Uuid,
    causation: Option<kernel::Uuid>,
    trace: Option<&kernel::TraceParent>,
) -> tracing::Span {
    tracing::info_span!(
        "invocation", function = %handler, request = %context.request_id, %correlation,
        causation = causation.map(|c| c.to_string()), trace = trace.map(|t| t.as_str()),
    )
}

/// The use case that this deployment of the binary is: SAM's `Handler`, which Lambda passes on as `_HANDLER`.
fn handler_name() -> String {
    std::env::var("_HANDLER").unwrap_or_default()
}

/// Runs the function that `_HANDLER` names. `build` makes it, or explains why it cannot.
///
/// # Errors
/// When the function is not in the table or cannot be built: Lambda reports it as a failed
/// initialisation.
pub async fn serve<Fut>(build: impl FnOnce(String) -> Fut) -> Result<(), lambda_runtime::Error>
where
    Fut: Future<Output = Result<Option<Function>, String>>,
{
    log::init();
    let name = handler_name();
    let function = match build(name.clone()).await {
        Ok(Some(function)) => function,
        Ok(None) => {
            tracing::error!(function = %name, "no such use case in this binary: check the template's Handler");
            return Err(format!("no use case named {name:?}").into());
        }
        Err(error) => {
            tracing::error!(function = %name, %error, "cannot start");
            return Err(error.into());
        }
    };
    let run = &function.0;
    lambda_runtime::run(service_fn(|event: LambdaEvent<Value>| run(event.payload, event.context))).await
}
