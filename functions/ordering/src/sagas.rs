//! The port to the order saga, and Step Functions behind it.

use async_trait::async_trait;
use aws_sdk_sfn::{Client, error::DisplayErrorContext, operation::start_execution::StartExecutionError};
use contracts::ids::{CustomerId, OrderId, PaymentId, ShoppingListId};
use kernel::{TraceParent, Uuid};
use lambda::Fault;
use serde::Serialize;

/// Starts order sagas.
#[async_trait]
pub trait OrderSagas: Send + Sync {
    /// Starts the saga of an order, unless it was started before: one order, one saga.
    ///
    /// # Errors
    /// When the saga could not be started; it may have been.
    async fn start(&self, input: &OrderSagaInput) -> Result<Started, Fault>;
}

/// What a saga is started with: ids only. A state machine's payload is limited to 256 KB, and going over it
/// cannot be caught; ids cannot grow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderSagaInput {
    /// The order; also the execution's name.
    pub order_id: OrderId,
    /// Who ordered.
    pub customer_id: CustomerId,
    /// What it is paid with.
    pub payment_id: PaymentId,
    /// The list by which it will be collected: an order has one, and its id follows from the order's.
    pub shopping_id: ShoppingListId,
    /// Shared by all that follows from the checkout.
    pub correlation: Uuid,
    /// The OrderCreated event.
    pub causation: Uuid,
    /// W3C trace context; null when there is none, since a path that is missing fails a state machine.
    pub trace: Option<TraceParent>,
}

/// Whether the call started it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    /// It did.
    Now,
    /// It was started before.
    Before,
}

/// Order sagas in Step Functions. An execution's name stays taken for 90 days, so a second start is refused
/// by the service itself.
pub struct StepFunctions {
    client: Client,
    state_machine: String,
}

impl StepFunctions {
    /// Starts executions of `state_machine` (an ARN).
    pub fn new(client: Client, state_machine: String) -> Self {
        Self { client, state_machine }
    }
}

#[async_trait]
impl OrderSagas for StepFunctions {
    async fn start(&self, input: &OrderSagaInput) -> Result<Started, Fault> {
        let started = self
            .client
            .start_execution()
            .state_machine_arn(&self.state_machine)
            .name(input.order_id.to_string())
            .input(serde_json::to_string(input).map_err(Fault::internal)?)
            .send()
            .await;
        match started {
            Ok(_) => Ok(Started::Now),
            Err(error) => match error.as_service_error() {
                Some(StartExecutionError::ExecutionAlreadyExists(_)) => Ok(Started::Before),
                _ => Err(Fault::unavailable(DisplayErrorContext(&error))),
            },
        }
    }
}
