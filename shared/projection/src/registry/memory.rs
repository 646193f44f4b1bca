//! The registry in memory: same semantics, no AWS. For tests, benches and simulation.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;
use serde_json::Value;

use super::{REGISTRY, Registry, ViewState};
use crate::store::{Put, ViewError};

/// States in memory. Clones share the same states.
#[derive(Debug, Clone, Default)]
pub struct MemoryRegistry(Arc<Mutex<BTreeMap<String, Value>>>);

impl MemoryRegistry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    fn states(&self) -> MutexGuard<'_, BTreeMap<String, Value>> {
        // A poisoned lock means that a test panicked elsewhere; the states themselves are whole.
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn malformed(view: &str, error: &serde_json::Error) -> ViewError {
    ViewError::Malformed { view: REGISTRY, id: view.to_owned(), why: error.to_string() }
}

fn read(view: &str, stored: &Value) -> Result<ViewState, ViewError> {
    serde_json::from_value(stored.clone()).map_err(|e| malformed(view, &e))
}

#[async_trait]
impl Registry for MemoryRegistry {
    async fn get(&self, view: &str) -> Result<ViewState, ViewError> {
        self.states().get(view).map_or_else(|| Ok(ViewState::new(view)), |stored| read(view, stored))
    }

    async fn put(&self, state: &ViewState) -> Result<Put, ViewError> {
        let mut states = self.states();
        let stored = states.get(&state.view).map(|stored| read(&state.view, stored)).transpose()?;
        if stored.map_or(0, |stored| stored.revision) != state.revision {
            return Ok(Put::Conflict);
        }
        let next = ViewState { revision: state.revision + 1, ..state.clone() };
        let next = serde_json::to_value(next).map_err(|e| malformed(&state.view, &e))?;
        states.insert(state.view.clone(), next);
        Ok(Put::Written)
    }

    async fn all(&self) -> Result<Vec<ViewState>, ViewError> {
        self.states().iter().map(|(view, stored)| read(view, stored)).collect()
    }
}
