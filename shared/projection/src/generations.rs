//! Which generation is read and which are fed, as cheaply as it can be known.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use kernel::{Timestamp, ports::Clock};

use crate::{
    projection::Projection,
    registry::{Fed, Generation, Registry},
    store::{ViewError, ViewStore},
};

/// How long what the registry said is relied on. One consistent read of one item in that time, for each environment of each
/// function that has to do with the view: a thousand busy environments make 333 read units a second.
pub const CACHE: Duration = Duration::from_secs(3);

/// The longest that an invocation may go on with what it learnt of the registry: the time-out of every function that reads or
/// feeds a view. A test of the templates holds them to it.
pub const INVOCATION: Duration = Duration::from_secs(10);

/// How long a change of the registry takes until nobody acts on what was before: [`CACHE`], then [`INVOCATION`], and two seconds
/// by which clocks may differ.
pub const GRACE: Duration = Duration::from_secs(CACHE.as_secs() + INVOCATION.as_secs() + 2);

/// Which generations of a view are read and fed, from the registry, remembered for [`CACHE`].
///
/// Not only projections have generations: a view of another make (fed by many streams, for example) asks here where to write.
pub struct Generations {
    view: String,
    registry: Arc<dyn Registry>,
    clock: Arc<dyn Clock>,
    relied_on: Duration,
    known: Mutex<Option<(Timestamp, Fed)>>,
}

impl Generations {
    /// The generations of `view`.
    pub fn new(view: impl Into<String>, registry: Arc<dyn Registry>, clock: Arc<dyn Clock>) -> Self {
        Self { view: view.into(), registry, clock, relied_on: CACHE, known: Mutex::new(None) }
    }

    /// The same, relying on what it knows for `time`; for tests, in which nothing else takes time.
    #[must_use]
    pub fn relied_on_for(self, time: Duration) -> Self {
        Self { relied_on: time, ..self }
    }

    /// Name of the view.
    pub fn view(&self) -> &str {
        &self.view
    }

    /// What is to be read and fed now.
    ///
    /// # Errors
    /// When it has to be asked for and the registry fails: an old answer is not good enough, since a switch relies on nobody
    /// using it.
    pub async fn fed(&self) -> Result<Fed, ViewError> {
        // Before the question: the answer is at least as new as this.
        let now = self.clock.now();
        if let Some((asked, fed)) = *self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) {
            let age = now.duration_since(asked);
            // A clock that was set back says nothing about the age.
            if !age.is_negative() && age.unsigned_abs() < self.relied_on {
                return Ok(fed);
            }
        }
        let fed = self.registry.get(&self.view).await?.fed();
        *self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some((now, fed));
        Ok(fed)
    }
}

/// The rows of a view: one store, or one for the odd and one for the even generations.
pub(crate) enum Rows<P> {
    One(Arc<dyn ViewStore<P>>),
    Two { generations: Generations, odd: Arc<dyn ViewStore<P>>, even: Arc<dyn ViewStore<P>> },
}

/// Where to read and write.
pub(crate) struct Stores<P> {
    pub live: Arc<dyn ViewStore<P>>,
    pub also: Option<Arc<dyn ViewStore<P>>>,
    /// Whether the live one is the newer of the two: it was switched to, and the other is still fed for those who do not know.
    pub switched: bool,
}

impl<P: Projection> Stores<P> {
    /// The newer generation, which every event comes to first, and the older one: whatever a query sees in the older one has to
    /// be in the newer one when that takes over.
    pub(crate) fn newer_first(&self) -> (&dyn ViewStore<P>, Option<&dyn ViewStore<P>>) {
        match &self.also {
            Some(also) if self.switched => (&*self.live, Some(&**also)),
            Some(also) => (&**also, Some(&*self.live)),
            None => (&*self.live, None),
        }
    }
}

impl<P: Projection> Rows<P> {
    /// Name of the view, as operators know it.
    pub(crate) fn view(&self) -> &str {
        match self {
            Self::One(_) => P::NAME,
            Self::Two { generations, .. } => generations.view(),
        }
    }

    pub(crate) async fn stores(&self) -> Result<Stores<P>, ViewError> {
        match self {
            Self::One(store) => Ok(Stores { live: store.clone(), also: None, switched: false }),
            Self::Two { generations, odd, even } => {
                let store = |generation: Generation| if generation.is_odd() { odd } else { even }.clone();
                let Fed { live, also } = generations.fed().await?;
                let switched = also.is_some_and(|also| live > also);
                Ok(Stores { live: store(live), also: also.map(store), switched })
            }
        }
    }
}
