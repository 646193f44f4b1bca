//! The ordering functions: one binary, one Lambda function per use case.

use std::sync::Arc;

use lambda::{
    Function, aws, batch_consumer, consumer, detail_consumer, rebuild_view, serve, system_ports, use_case,
};
use ordering::{
    Ordering,
    policies::SagaStarter,
    saga_table,
    saga_view::{SagaProjection, SagaViews},
    sagas::{FirstWait, StepFunctions, StepFunctionsRecords},
    views::{OrderViews, Orders},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    serve(function).await
}

async fn function(name: String) -> Result<Option<Function>, String> {
    let ports = system_ports();
    let config = aws::config();
    let store = aws::event_store(&config, &ports)?;
    let ordering = || Arc::new(Ordering::new(store.clone(), ports.clone()));
    let views = || {
        let orders = aws::projector(&config, "ORDERS_TABLE", &store, &ports)?;
        Ok::<_, String>(Arc::new(OrderViews::new(orders)))
    };
    let starter = || {
        let client = aws_sdk_sfn::Client::new(&config);
        let sagas = Arc::new(StepFunctions::new(client, aws::setting("ORDER_SAGA_ARN")?));
        let (reminder, deadline) =
            (aws::setting("PAYMENT_REMINDER_SECONDS")?, aws::setting("PAYMENT_DEADLINE_SECONDS")?);
        let payment = FirstWait::new(&reminder, &deadline)?;
        Ok::<_, String>(Arc::new(SagaStarter::new(store.clone(), sagas, payment)))
    };
    let client = || aws_sdk_dynamodb::Client::new(&config);
    let rows = || saga_table::generations(&client(), aws::registry(&config)?, &ports).map(Arc::new);
    let sagas = || {
        let client = aws_sdk_sfn::Client::new(&config);
        let (saga, compensation) =
            (aws::setting("ORDER_SAGA_ARN")?, aws::setting("ORDER_SAGA_COMPENSATION_ARN")?);
        let records = Arc::new(StepFunctionsRecords::new(client, saga, compensation));
        Ok::<_, String>(Arc::new(SagaViews::new(store.clone(), rows()?, records)))
    };
    let rebuilders = || {
        let orders = aws::rebuilder::<Orders>(&config, "ORDERS_TABLE", &store, &ports)?;
        let sagas = saga_table::rebuilder(&client(), aws::registry(&config)?, &store, &ports)?;
        Ok::<_, String>(vec![orders, sagas])
    };
    Ok(Some(match name.as_str() {
        "create-order" => use_case(&ordering(), &ports, Ordering::create_order),
        "get-order" => use_case(&ordering(), &ports, Ordering::get_order),
        "get-order-timeline" => use_case(&ordering(), &ports, Ordering::get_order_timeline),
        "cancel-order" => use_case(&ordering(), &ports, Ordering::cancel_order),
        "approve-order" => use_case(&ordering(), &ports, Ordering::approve_order),
        "reject-order" => use_case(&ordering(), &ports, Ordering::reject_order),
        "create-order-on-checkout" => consumer(&ordering(), Ordering::create_order_on_checkout),
        "ready-order" => consumer(&ordering(), Ordering::ready_order),
        "complete-order" => consumer(&ordering(), Ordering::complete_order),
        "start-order-saga" => consumer(&starter()?, SagaStarter::start_order_saga),
        "project-sagas" => {
            let projection = Arc::new(SagaProjection::new(store.clone(), rows()?, ports.clone()));
            detail_consumer(&projection, SagaProjection::project_sagas)
        }
        "list-sagas" => use_case(&sagas()?, &ports, SagaViews::list_sagas),
        "get-saga" => use_case(&sagas()?, &ports, SagaViews::get_saga),
        "project-orders" => batch_consumer(&views()?, OrderViews::project_orders),
        "get-order-view" => use_case(&views()?, &ports, OrderViews::get_order_view),
        "list-orders" => use_case(&views()?, &ports, OrderViews::list_orders),
        "rebuild-view" => rebuild_view(rebuilders()?, &ports),
        _ => return Ok(None),
    }))
}
