//! The ordering functions: one binary, one Lambda function per use case.

use std::{sync::Arc, time::Duration};

use executions::StepFunctions;
use lambda::{Function, aws, batch_consumer, consumer, raw, serve, sweep_view, system_ports, use_case};
use ordering::{
    Ordering,
    saga::Patience,
    saga_views::{SagaRows, SagaShower, SagaViews},
    sagas::{Machines, Resumer, Sagas},
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
    let orders = || aws::projector::<Orders>(&config, "ORDERS_TABLE", &store, &ports);
    let rows = || aws::projector::<SagaRows>(&config, "SAGAS_TABLE", &store, &ports);
    let views = || Ok::<_, String>(Arc::new(OrderViews::new(orders()?)));
    let executions = || Arc::new(StepFunctions::new(&config));
    let undo = || aws::setting("ORDER_UNDO_ARN");
    let sagas = || {
        let patience = Patience::new(&aws::setting("PLACEMENT_PATIENCE_SECONDS")?)?;
        let machines = Machines { placement: aws::setting("ORDER_PLACEMENT_ARN")?, undo: undo()? };
        Ok::<_, String>(Sagas::new(store.clone(), ports.clone(), executions(), machines, patience))
    };
    let resumer = || {
        let seconds = aws::setting("FORGOTTEN_ORDER_SECONDS")?;
        let forgotten = seconds.parse().map_err(|e| format!("FORGOTTEN_ORDER_SECONDS: {e}"))?;
        Ok::<_, String>(Arc::new(Resumer::new(sagas()?, orders()?, rows()?, Duration::from_secs(forgotten))))
    };
    let saga_views = || Ok::<_, String>(Arc::new(SagaViews::new(orders()?, rows()?)));
    let sweepers = || {
        let orders = aws::sweeper::<Orders>(&config, "ORDERS_TABLE", &store, &ports)?;
        let sagas = aws::sweeper::<SagaRows>(&config, "SAGAS_TABLE", &store, &ports)?;
        Ok::<_, String>(vec![orders, sagas])
    };
    let messages = || aws::messages(&config, &ports);
    Ok(Some(match name.as_str() {
        "create-order" => use_case(&ordering(), &ports, Ordering::create_order),
        "get-order" => use_case(&ordering(), &ports, Ordering::get_order),
        "get-order-timeline" => use_case(&ordering(), &ports, Ordering::get_order_timeline),
        "cancel-order" => use_case(&ordering(), &ports, Ordering::cancel_order),
        "approve-order" => use_case(&ordering(), &ports, Ordering::approve_order),
        "create-order-on-checkout" => consumer(&ordering(), &messages(), Ordering::create_order_on_checkout),
        "ready-order" => consumer(&ordering(), &messages(), Ordering::ready_order),
        "complete-order" => consumer(&ordering(), &messages(), Ordering::complete_order),
        "start-placement" => consumer(&Arc::new(sagas()?), &messages(), Sagas::start_placement),
        "undo-order" => consumer(&Arc::new(sagas()?), &messages(), Sagas::undo_order),
        "begin-undo" => use_case(&Arc::new(sagas()?), &ports, Sagas::begin_undo),
        "close-order" => use_case(&Arc::new(sagas()?), &ports, Sagas::close_order),
        "end-undo" => use_case(&Arc::new(sagas()?), &ports, Sagas::end_undo),
        "retry-saga" => use_case(&Arc::new(sagas()?), &ports, Sagas::retry_saga),
        "resume-sagas" => {
            let resumer = resumer()?;
            raw(move |_: serde_json::Value, _| resumer.clone().resume_sagas())
        }
        "project-sagas" => batch_consumer(&saga_views()?, &messages(), SagaViews::project_sagas),
        "list-sagas" => use_case(&saga_views()?, &ports, SagaViews::list_sagas),
        "get-saga" => {
            let shower = SagaShower::new(store.clone(), executions(), undo()?);
            use_case(&Arc::new(shower), &ports, SagaShower::get_saga)
        }
        "project-orders" => batch_consumer(&views()?, &messages(), OrderViews::project_orders),
        "get-order-view" => use_case(&views()?, &ports, OrderViews::get_order_view),
        "list-orders" => use_case(&views()?, &ports, OrderViews::list_orders),
        "sweep-view" => sweep_view(sweepers()?, &ports),
        _ => return Ok(None),
    }))
}
