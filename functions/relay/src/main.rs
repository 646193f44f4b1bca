//! The relay function.

use std::sync::Arc;

use kernel::Timestamp;
use lambda::{Fault, Function, aws, raw, serve, system_ports};
use lambda_runtime::Context;
use relay::{Batch, EventBridge, ParkedQueue, Relay};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    serve(function).await
}

async fn function(name: String) -> Result<Option<Function>, String> {
    if name != "relay" {
        return Ok(None);
    }
    let config = aws::config();
    let bus = EventBridge::new(aws_sdk_eventbridge::Client::new(&config), aws::setting("EVENT_BUS")?);
    let parking = ParkedQueue::new(aws_sdk_sqs::Client::new(&config), aws::setting("PARKED_QUEUE_URL")?);
    let relay = Relay::new(Arc::new(bus), Arc::new(parking), system_ports());
    Ok(Some(raw(move |batch: Batch, context: Context| {
        let relay = relay.clone();
        async move {
            // Zero when the runtime was not told.
            let deadline = i64::try_from(context.deadline).ok().filter(|ms| *ms > 0);
            let deadline = deadline.and_then(|ms| Timestamp::from_millisecond(ms).ok());
            relay.relay(batch, deadline).await.map_err(Fault::internal)
        }
    })))
}
