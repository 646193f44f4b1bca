//! Time, ids, randomness and waiting that a test controls: one seed, one run.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use kernel::{
    Actor, CommandId, CommandMeta, Timestamp, Uuid,
    ports::{Clock, Ids, Ports, Random, Timer},
};

use crate::random::Seeded;

/// The deterministic world. Clones share one clock, one id counter and one source of randomness.
///
/// The clock stands still unless it is moved: by [`TestPorts::set`] (backwards too),
/// [`TestPorts::advance`], or by somebody who sleeps. Sleeping takes no real time: it moves the clock
/// by the pause, gives other tasks a turn and returns.
#[derive(Clone)]
pub struct TestPorts(Arc<World>);

struct World {
    /// What every id of this seed ends with, so that two seeds make different ids.
    tail: u32,
    state: Mutex<State>,
}

struct State {
    now: Timestamp,
    made: u64,
    random: Seeded,
    slept: Vec<Duration>,
}

impl TestPorts {
    /// What the clock says at first: 2026-11-20T09:00:00Z.
    pub const START: Timestamp = Timestamp::constant(1_795_165_200, 0);

    /// The world of this seed.
    pub fn new(seed: u64) -> Self {
        let mut random = Seeded::new(seed);
        let tail = (random.bits() >> 32) as u32;
        let state = State { now: Self::START, made: 0, random, slept: Vec::new() };
        Self(Arc::new(World { tail, state: Mutex::new(state) }))
    }

    /// The ports, to pass to the code under test.
    pub fn ports(&self) -> Ports {
        let world = Arc::new(self.clone());
        Ports { clock: world.clone(), ids: world.clone(), random: world.clone(), timer: world }
    }

    /// What the clock says.
    pub fn now(&self) -> Timestamp {
        self.state().now
    }

    /// Sets the clock, backwards too.
    pub fn set(&self, now: Timestamp) {
        self.state().now = now;
    }

    /// Moves the clock on.
    pub fn advance(&self, by: Duration) {
        self.state().advance(by);
    }

    /// The pauses that were slept so far, in order.
    pub fn slept(&self) -> Vec<Duration> {
        self.state().slept.clone()
    }

    /// A fresh command by `actor`, carried out now.
    pub fn command(&self, actor: &str) -> CommandMeta {
        self.repeat(CommandId::new(self.fresh()), actor)
    }

    /// The command of this id (once more), carried out now: time and correlation are those of the
    /// repeat, as they are when a caller tries again.
    pub fn repeat(&self, id: CommandId, actor: &str) -> CommandMeta {
        CommandMeta {
            id,
            at: self.now(),
            actor: Actor::new(actor),
            correlation: self.fresh(),
            causation: None,
            trace: None,
            attempt: 0,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Poisoned means that another test thread failed; the state itself is whole.
        self.0.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl State {
    fn advance(&mut self, by: Duration) {
        self.now = self.now.checked_add(by).expect("the clock of a test stays within jiff's years");
    }
}

impl fmt::Debug for TestPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TestPorts({})", self.now())
    }
}

impl Clock for TestPorts {
    fn now(&self) -> Timestamp {
        TestPorts::now(self)
    }
}

impl Ids for TestPorts {
    /// Shaped as a UUIDv7: the clock's milliseconds, then a counter (so ids ascend within one run,
    /// unless the clock is set back), then the seed's tail.
    fn fresh(&self) -> Uuid {
        let mut state = self.state();
        state.made += 1;
        let millis = u64::try_from(state.now.as_millisecond()).unwrap_or_default() & 0xffff_ffff_ffff;
        let (high, low) = (state.made >> 30 & 0xfff, state.made & 0x3fff_ffff);
        let bits = u128::from(millis) << 80
            | 0x7 << 76
            | u128::from(high) << 64
            | 0b10 << 62
            | u128::from(low) << 32
            | u128::from(self.0.tail);
        Uuid::from_u128(bits)
    }
}

impl Random for TestPorts {
    fn unit(&self) -> f64 {
        self.state().random.unit()
    }

    fn bits(&self) -> u64 {
        self.state().random.bits()
    }
}

#[async_trait]
impl Timer for TestPorts {
    async fn sleep(&self, pause: Duration) {
        {
            let mut state = self.state();
            state.slept.push(pause);
            state.advance(pause);
        }
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_is_one_run_and_two_seeds_share_no_id() {
        let ids = |seed| -> Vec<Uuid> {
            let ports = TestPorts::new(seed);
            (0..3).map(|_| ports.fresh()).collect()
        };
        assert_eq!(ids(1), ids(1));
        assert!(ids(1).iter().all(|id| !ids(2).contains(id)));
        assert!(ids(1).is_sorted());
        assert!(ids(1).iter().all(|id| id.get_version_num() == 7));
        assert_eq!(TestPorts::START.to_string(), "2026-11-20T09:00:00Z");
    }

    #[tokio::test]
    async fn sleeping_takes_virtual_time_only() {
        let world = TestPorts::new(1);
        let hour = Duration::from_secs(3600);
        world.ports().timer.sleep(hour).await;
        assert_eq!(world.now().to_string(), "2026-11-20T10:00:00Z");
        assert_eq!(world.slept(), [hour]);
        world.set(TestPorts::START);
        assert_eq!(world.ports().clock.now(), TestPorts::START);
    }
}
