//! The world as it really is.
#![expect(clippy::disallowed_methods, reason = "this module is where the ports meet the world")]

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use kernel::{
    Timestamp, Uuid,
    ports::{Clock, Ids, Ports, Random, Timer},
};

struct System;

impl Clock for System {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

impl Ids for System {
    fn fresh(&self) -> Uuid {
        Uuid::now_v7()
    }
}

impl Random for System {
    fn unit(&self) -> f64 {
        // The 53 bits that a double holds exactly.
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn bits(&self) -> u64 {
        let mut bytes = [0; 8];
        // Jitter and trace ids are all that hangs on this: without entropy they repeat, no more.
        if getrandom::fill(&mut bytes).is_err() {
            return Timestamp::now().as_nanosecond() as u64;
        }
        u64::from_le_bytes(bytes)
    }
}

#[async_trait]
impl Timer for System {
    async fn sleep(&self, pause: Duration) {
        tokio::time::sleep(pause).await;
    }
}

/// The real clock, ids, randomness and waiting.
pub fn system_ports() -> Ports {
    let system = Arc::new(System);
    Ports { clock: system.clone(), ids: system.clone(), random: system.clone(), timer: system }
}
