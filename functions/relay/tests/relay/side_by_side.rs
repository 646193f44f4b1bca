//! Calls that are in flight at the same time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use relay::{Batch, Bus, BusError, Entry, Relay, Verdict};
use testing::TestPorts;
use tokio::sync::Notify;

use crate::stage::{Stage, commits, envelope, event_id};

/// A bus that answers the first call only after all others.
#[derive(Default)]
struct SlowFirst {
    calls: usize,
    answered: AtomicUsize,
    in_flight: AtomicUsize,
    most: AtomicUsize,
    all_others: Notify,
}

#[async_trait]
impl Bus for SlowFirst {
    async fn put(&self, entries: &[Entry], _: Duration) -> Result<Vec<Verdict>, BusError> {
        self.most.fetch_max(self.in_flight.fetch_add(1, SeqCst) + 1, SeqCst);
        if entries.iter().any(|entry| envelope(entry).id == event_id(0, 0)) {
            self.all_others.notified().await;
        } else {
            tokio::task::yield_now().await;
            if self.answered.fetch_add(1, SeqCst) + 2 == self.calls {
                self.all_others.notify_one();
            }
        }
        self.in_flight.fetch_sub(1, SeqCst);
        Ok(vec![Verdict::Accepted; entries.len()])
    }
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "a call that is held up would hang the test")]
async fn a_slow_call_holds_up_no_other_and_no_more_than_three_are_in_flight() {
    let world = TestPorts::new(1);
    let bus = Arc::new(SlowFirst { calls: 8, ..SlowFirst::default() });
    let relay = Relay::new(bus.clone(), Arc::new(Stage::willing()), world.ports());
    let relayed = relay.relay(Batch { records: commits(&[10; 8]) }, None);
    let response = tokio::time::timeout(Duration::from_secs(5), relayed).await.expect("a call is held up");
    assert!(response.unwrap().batch_item_failures.is_empty());
    assert_eq!((bus.answered.load(SeqCst), bus.most.load(SeqCst)), (7, 3));
}
