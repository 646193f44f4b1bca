//! What the world provides. Use cases, the relay, projections and policies get time, ids,
//! randomness and waiting from here and nowhere else, so that the same code runs in production,
//! on the local cloud and in a deterministic simulation.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

/// The wall clock. It may jump backwards; nothing may rely on it for order.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// Fresh ids.
pub trait Ids: Send + Sync {
    /// A fresh UUIDv7.
    fn fresh(&self) -> Uuid;
}

/// Randomness for jitter and trace ids. Not for secrets.
pub trait Random: Send + Sync {
    /// Uniform in `0.0..1.0`.
    fn unit(&self) -> f64;
    /// Sixty-four random bits.
    fn bits(&self) -> u64;
}

/// Waiting.
#[async_trait]
pub trait Timer: Send + Sync {
    /// Returns after `pause`.
    async fn sleep(&self, pause: Duration);
}

/// The four together, cheap to clone.
#[derive(Clone)]
pub struct Ports {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub ids: Arc<dyn Ids>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// Waiting.
    pub timer: Arc<dyn Timer>,
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ports")
    }
}

/// Exponential back-off with full jitter: each pause is uniform between nothing and a ceiling that
/// doubles up to a cap. Full jitter, because retries that wait alike collide alike.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// Ceiling of the first pause.
    pub base: Duration,
    /// Highest ceiling.
    pub cap: Duration,
    /// How many retries are made before giving up.
    pub retries: u32,
}

impl Backoff {
    /// The pause before retry number `retry` (the first is 0).
    pub fn pause(&self, retry: u32, random: &dyn Random) -> Duration {
        let ceiling = self.base.saturating_mul(2u32.saturating_pow(retry)).min(self.cap);
        ceiling.mul_f64(random.unit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(f64);
    impl Random for Fixed {
        fn unit(&self) -> f64 {
            self.0
        }
        fn bits(&self) -> u64 {
            0
        }
    }

    #[test]
    fn back_off_never_passes_its_cap_however_long_it_goes_on() {
        let backoff =
            Backoff { base: Duration::from_millis(10), cap: Duration::from_millis(200), retries: 3 };
        assert_eq!(backoff.pause(0, &Fixed(0.5)), Duration::from_millis(5));
        assert_eq!(backoff.pause(2, &Fixed(0.5)), Duration::from_millis(20));
        assert!(backoff.pause(u32::MAX, &Fixed(0.999)) <= Duration::from_millis(200));
    }
}
