//! Where the rows of order sagas are read and written: in the live generation, and, while a rebuild is on, in two.
//!
//! What is told comes to both generations that are fed, and is done with when it is in both. Queries read the live one. See
//! `shared/projection` for how generations change, and [`crate::saga_rebuild`] for how the next one is built.

use std::sync::Arc;

use projection::{Fed, Generation, Generations, ViewError};

use crate::saga_rows::{Change, Joined, SagaRows, join};

/// The rows of the generations that the registry names: odd ones in one table, even ones in the other.
pub struct SagaGenerations {
    generations: Generations,
    odd: Arc<dyn SagaRows>,
    even: Arc<dyn SagaRows>,
}

impl SagaGenerations {
    /// The rows in these tables.
    pub fn new(generations: Generations, odd: Arc<dyn SagaRows>, even: Arc<dyn SagaRows>) -> Self {
        Self { generations, odd, even }
    }

    fn table(&self, generation: Generation) -> &Arc<dyn SagaRows> {
        if generation.is_odd() { &self.odd } else { &self.even }
    }

    /// The rows to be read now.
    ///
    /// # Errors
    /// When the registry has to be asked, and fails.
    pub async fn live(&self) -> Result<Arc<dyn SagaRows>, ViewError> {
        let Fed { live, .. } = self.generations.fed().await?;
        Ok(self.table(live).clone())
    }

    /// Joins what a queue brought into both generations, the newer one first: what a query sees in the older one has to be in the
    /// newer one when that takes over. What fails in either comes again.
    ///
    /// # Errors
    /// [`ViewError`], where it is not in all of them.
    pub async fn feed(&self, change: Change) -> Result<Joined, ViewError> {
        let Fed { live, also } = self.generations.fed().await?;
        let Some(also) = also else { return join(self.table(live).as_ref(), change).await };
        let newer = join(self.table(live.max(also)).as_ref(), change.clone()).await?;
        let older = join(self.table(live.min(also)).as_ref(), change).await?;
        Ok(if live > also { newer } else { older })
    }

    /// Joins what a query found out into both generations, the live one last: who looks next finds out again what that does
    /// not have, and nothing else. So what is not in both is looked for again.
    ///
    /// # Errors
    /// [`ViewError`], where it is not in all of them.
    pub async fn keep(&self, change: Change) -> Result<Joined, ViewError> {
        let Fed { live, also } = self.generations.fed().await?;
        if let Some(also) = also {
            join(self.table(also).as_ref(), change.clone()).await?;
        }
        join(self.table(live).as_ref(), change).await
    }
}
