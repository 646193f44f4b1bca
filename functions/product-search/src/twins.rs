//! The index and its twin: odd generations are kept in one, even ones in the other, and the one whose turn it is not is empty.

use std::sync::Arc;

use projection::Generation;

use crate::index::ProductIndex;

/// The two. Clones share them.
#[derive(Clone)]
pub struct Twins {
    odd: Arc<dyn ProductIndex>,
    even: Arc<dyn ProductIndex>,
}

impl Twins {
    /// These two.
    pub fn new(odd: Arc<dyn ProductIndex>, even: Arc<dyn ProductIndex>) -> Self {
        Self { odd, even }
    }

    /// The one that this generation is kept in.
    pub fn of(&self, generation: Generation) -> &Arc<dyn ProductIndex> {
        if generation.is_odd() { &self.odd } else { &self.even }
    }

    /// The one that this generation is kept in, when nobody here uses the other: that lets go of what it has in memory, which
    /// would be twice the index, and of an old generation when it is its turn again.
    pub async fn only(&self, generation: Generation) -> &Arc<dyn ProductIndex> {
        self.of(generation.next()).rest().await;
        self.of(generation)
    }
}
