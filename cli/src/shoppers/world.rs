//! What all clients, bots and payers of a run share.

use std::{cell::RefCell, collections::BTreeMap, ops::RangeInclusive, time::Duration};

use kernel::Money;
use serde_json::Value;
use tokio::sync::watch;
use uuid::Uuid;

use super::{
    http::{Api, No},
    mind::Pick,
    operations::LIST_STORES,
    orders::Orders,
};

/// Stores that are remembered; enough for shoppers to spread.
const STORES: usize = 1000;
/// Stores on a page.
const PAGE: u32 = 50;

/// How far the run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Clients do what comes to their minds.
    Shopping,
    /// Nothing new is begun; orders are taken to their ends.
    Settling,
    /// Bots finish what they have in hand.
    Over,
}

/// See the module.
pub struct World {
    pub api: Api,
    pub orders: Orders,
    pub stores: RefCell<Directory>,
    /// Pieces of the products whose stock was counted in this run.
    pub stocked: RefCell<BTreeMap<Uuid, u64>>,
    /// Between two things that a client does, in milliseconds.
    pub pause: RangeInclusive<u64>,
    phase: watch::Sender<Phase>,
}

impl World {
    pub fn new(api: Api, orders: Orders, pause: RangeInclusive<u64>) -> Self {
        let phase = watch::Sender::new(Phase::Shopping);
        Self { api, orders, stores: RefCell::default(), stocked: RefCell::default(), pause, phase }
    }

    pub fn is_at(&self, phase: Phase) -> bool {
        *self.phase.borrow() == phase
    }

    pub fn turn_to(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Stands around, but not longer than the phase lasts.
    pub async fn wait(&self, time: Duration) {
        let mut phase = self.phase.subscribe();
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            // The sender is ours: it cannot go before us.
            _ = phase.changed() => {}
        }
    }

    /// Reads the next page of the mall's stores, as somebody does who walks through it.
    pub async fn look_around(&self) -> Result<(), No> {
        let cursor = self.stores.borrow().cursor.clone();
        let (rows, next) = self.api.list(&LIST_STORES, Uuid::nil(), PAGE, cursor.as_deref()).await?;
        let mut stores = self.stores.borrow_mut();
        rows.iter().filter_map(id_of).for_each(|store| stores.add(store));
        stores.cursor = next;
        Ok(())
    }
}

/// The stores that somebody of this run has seen.
#[derive(Debug, Default)]
pub struct Directory {
    known: Vec<Uuid>,
    /// Where the next look goes on; the first page when there is none.
    cursor: Option<String>,
}

impl Directory {
    pub fn add(&mut self, store: Uuid) {
        if self.known.len() < STORES && !self.known.contains(&store) {
            self.known.push(store);
        }
    }

    pub fn pick(&self, pick: Pick) -> Option<Uuid> {
        pick.of(&self.known).copied()
    }
}

/// The id of a row.
pub fn id_of(row: &Value) -> Option<Uuid> {
    row["id"].as_str()?.parse().ok()
}

/// An amount as the API shows it.
pub fn amount(shown: &Value) -> Option<Money> {
    kernel::money::decimal::deserialize(shown).ok()
}

/// An amount as the API takes it.
pub fn shown(amount: Money) -> Value {
    // A decimal of two places is always a JSON number.
    kernel::money::decimal::serialize(&amount, serde_json::value::Serializer).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn amounts_go_out_and_come_back_to_the_cent() {
        for minor in [0, 1, 99, 500, 1199, 123_456] {
            let money = Money::from_minor(minor).unwrap();
            assert_eq!(amount(&shown(money)), Some(money));
        }
        assert_eq!(amount(&json!(7.5)).unwrap().minor(), 750);
        assert_eq!(amount(&json!(null)), None);
        assert_eq!(amount(&json!(0.001)), None);
    }

    #[test]
    fn a_store_is_known_once() {
        let (mut directory, store) = (Directory::default(), Uuid::now_v7());
        directory.add(store);
        directory.add(store);
        assert_eq!(directory.known, [store]);
    }
}
