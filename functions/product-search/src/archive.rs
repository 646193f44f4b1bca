//! The index in an archive of objects: immutable bundles of files, and a small manifest that says which of them count.
//!
//! | object | what is in it | written |
//! | --- | --- | --- |
//! | `<prefix>/manifest.json` | Tantivy's list of segments, and in which bundle, where, each file is | on the condition that it is what was read (`If-Match`, `If-None-Match`) |
//! | `<prefix>/bundles/<id>` | the files that one change made, one after the other | once |
//!
//! # Guarantees
//!
//! * **No change is lost and none is half done.** A change is a bundle, then the manifest that names it. A crash between the
//!   two leaves a bundle that nobody names. Of two writers that build on the same manifest one wins; the other is told
//!   [`Saved::Conflict`] and has changed nothing.
//! * **A reader never sees a mixture**: it opens what one manifest names, and bundles do not change.
//! * **What a change costs does not grow with the index**, but for the manifest (some 100 bytes a file): two `PutObject`, of
//!   which the bundle holds the changed documents and one bit for each document of the segments they were deleted from. Segments
//!   are merged when there are eight of about one size, so in the long run each document is written again
//!   for each power of eight that the index is larger than a batch.
//!
//! # Not guaranteed
//!
//! * *Freshness.* A search may be [`REFRESH`] behind the manifest, and as long as the archive does not answer.
//! * *Order between readers.* Two that ask one after the other may see the newer state first.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use event_store::Segment;
use futures::{
    FutureExt, StreamExt, TryStreamExt,
    future::{BoxFuture, Either, select},
    stream,
};
use kernel::{Timestamp, ports::Ports};
use projection::Consistency;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::{
    engine::{Edition, Files},
    index::{Found, IndexError, Key, ProductIndex, Record, Records, Revision, Saved, Wanted},
    objects::{Condition, Got, Objects, Tag, Wrote},
};

/// For how long a search takes the manifest that it knows for the latest: a shopper does not see the difference, and a
/// worker that answers a hundred searches a second asks S3 once in five seconds.
pub const REFRESH: Duration = Duration::from_secs(5);

/// How old a bundle has to be before it is swept away when no manifest names it: far more than a writer takes from the bundle
/// to its manifest, or a reader from the manifest to its bundles.
const GRACE: Duration = Duration::from_secs(3600);

/// A sweep lists the archive; it is made every so many changes.
const SWEEP_EVERY: u64 = 64;

/// Bundles that are fetched at a time.
const AT_A_TIME: usize = 8;

/// How long a search waits to hear whether there is a newer edition when it has one. A worker has ten seconds, and the client of the
/// archive takes eight to give up.
const PATIENCE: Duration = Duration::from_secs(1);

/// How old what it has may be for that: an environment that slept for an hour waits for as long as it takes.
const OLD: Duration = Duration::from_secs(60);

/// How often the manifest is read again when a bundle that it names is gone: swept away, by a writer that is further.
const ATTEMPTS: u32 = 3;

/// An index in an archive. A process keeps the edition that it read last in memory.
pub struct Archive {
    objects: Arc<dyn Objects>,
    ports: Ports,
    prefix: String,
    held: Mutex<Option<Arc<Held>>>,
}

/// What a process has in memory.
struct Held {
    /// None when there is no manifest yet.
    tag: Option<Tag>,
    manifest: Manifest,
    edition: Arc<Edition>,
    /// When it was last asked whether there is a newer one.
    checked: Timestamp,
    /// When the archive last said that this is the latest.
    read_at: Timestamp,
}

/// Which files count, and where they are.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    /// Counts the changes.
    revision: u64,
    /// Tantivy's list of segments.
    meta: String,
    /// Where each file is.
    files: BTreeMap<String, Span>,
}

/// A part of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Span {
    bundle: String,
    at: usize,
    length: usize,
}

impl Held {
    /// The manifest's tag: it names bundles whose names never come again, so no manifest is like an earlier one.
    fn revision(&self) -> Revision {
        Revision(self.tag.as_ref().map(|tag| tag.0.clone()).unwrap_or_default())
    }
}

impl Manifest {
    fn bundles(&self) -> BTreeSet<&str> {
        self.files.values().map(|span| span.bundle.as_str()).collect()
    }
}

impl Archive {
    /// The index under `prefix`. What it is called has to change with the engine's fields, and with what it makes of texts: newer code then starts with an empty
    /// index, and a sweep fills it.
    pub fn new(objects: Arc<dyn Objects>, ports: Ports, prefix: impl Into<String>) -> Self {
        Self { objects, ports, prefix: prefix.into(), held: Mutex::new(None) }
    }

    /// How many segments the index has: for benches.
    ///
    /// # Errors
    /// [`IndexError`].
    pub async fn segments(&self) -> Result<usize, IndexError> {
        Ok(self.held(Consistency::Eventual).await?.edition.segments())
    }

    fn manifest_name(&self) -> String {
        format!("{}/manifest.json", self.prefix)
    }

    /// What is in the archive: read strongly as it is now, else perhaps as it was [`REFRESH`] ago. Files that are in memory are
    /// not read again.
    async fn held(&self, consistency: Consistency) -> Result<Arc<Held>, IndexError> {
        let mut held = self.held.lock().await;
        let now = self.ports.clock.now();
        if let Some(held) = &*held
            && consistency == Consistency::Eventual
            && now.duration_since(held.checked).unsigned_abs() <= REFRESH
        {
            return Ok(held.clone());
        }
        let fresh = Arc::new(self.read(held.as_deref(), consistency).await?);
        *held = Some(fresh.clone());
        Ok(fresh)
    }

    /// The same, for a search: what is in memory, if the archive does not answer; it is asked again in [`REFRESH`].
    async fn held_or_older(&self) -> Result<Arc<Held>, IndexError> {
        let error = match self.held(Consistency::Eventual).await {
            Err(error @ IndexError::Unavailable { .. }) => error,
            held => return held,
        };
        let mut held = self.held.lock().await;
        let Some(old) = held.as_deref() else { return Err(error) };
        tracing::warn!(%error, since = %old.read_at, "the archive does not answer: searching what is known");
        let (tag, manifest, edition) = (old.tag.clone(), old.manifest.clone(), old.edition.clone());
        let old =
            Arc::new(Held { tag, manifest, edition, checked: self.ports.clock.now(), read_at: old.read_at });
        *held = Some(old.clone());
        Ok(old)
    }

    /// The manifest, if it is not that of `known`.
    async fn manifest(&self, known: Option<&Held>, consistency: Consistency) -> Result<Got, IndexError> {
        let name = self.manifest_name();
        let tag = known.and_then(|known| known.tag.as_ref());
        let asked = self.objects.get(&name, tag);
        let age = known.map(|known| self.ports.clock.now().duration_since(known.read_at).unsigned_abs());
        if consistency == Consistency::Strong || age.is_none_or(|age| age > OLD) {
            return asked.await;
        }
        match select(asked, self.ports.timer.sleep(PATIENCE)).await {
            Either::Left((got, _)) => got,
            Either::Right(_) => {
                let why = format!("no answer in {PATIENCE:?}");
                Err(IndexError::Unavailable { operation: "GetObject", why })
            }
        }
    }

    async fn read(&self, known: Option<&Held>, consistency: Consistency) -> Result<Held, IndexError> {
        let mut gone = None;
        for _ in 0..ATTEMPTS {
            let checked = self.ports.clock.now();
            let (tag, manifest) = match self.manifest(known, consistency).await? {
                Got::Missing => (None, Manifest::default()),
                Got::Unchanged => match known {
                    Some(known) => (known.tag.clone(), known.manifest.clone()),
                    None => return Err(IndexError::Damaged("what is unchanged was never read".into())),
                },
                Got::Object { tag, bytes } => {
                    let manifest = serde_json::from_slice(&bytes);
                    (Some(tag), manifest.map_err(|e| IndexError::Damaged(e.to_string()))?)
                }
            };
            match self.fetch(&manifest, known).await? {
                Ok(files) => {
                    let edition = match known.filter(|known| known.tag == tag) {
                        Some(known) => known.edition.clone(),
                        None if manifest.meta.is_empty() => Arc::new(Edition::empty()?),
                        None => Arc::new(Edition::open(files, &manifest.meta)?),
                    };
                    return Ok(Held { tag, manifest, edition, checked, read_at: checked });
                }
                Err(missing) => gone = Some(missing),
            }
        }
        Err(IndexError::Damaged(format!("the bundle {} is gone", gone.unwrap_or_default())))
    }

    /// The files that a manifest names: those that are in memory from there, the others out of their bundles. Or the name of
    /// a bundle that is gone.
    async fn fetch(
        &self,
        manifest: &Manifest,
        known: Option<&Held>,
    ) -> Result<Result<Files, String>, IndexError> {
        let mut files = Files::new();
        let mut wanted: BTreeMap<&str, Vec<(&str, &Span)>> = BTreeMap::new();
        for (name, span) in &manifest.files {
            let same = known.filter(|known| known.manifest.files.get(name) == Some(span));
            match same.and_then(|known| known.edition.files().get(name)) {
                Some(bytes) => {
                    files.insert(name.clone(), bytes.clone());
                }
                None => wanted.entry(&span.bundle).or_default().push((name, span)),
            }
        }
        // Boxed: the compiler cannot prove a stream of plain async blocks over borrowed names to be Send
        // (rust-lang/rust#102211).
        let fetches: Vec<BoxFuture<'_, Result<_, IndexError>>> = wanted
            .into_iter()
            .map(|(bundle, spans)| {
                async move { Ok((self.objects.get(bundle, None).await?, bundle, spans)) }.boxed()
            })
            .collect();
        let mut fetched = stream::iter(fetches).buffered(AT_A_TIME);
        while let Some((got, bundle, spans)) = fetched.try_next().await? {
            let bytes = match got {
                Got::Object { bytes, .. } => bytes,
                Got::Missing | Got::Unchanged => return Ok(Err(bundle.to_owned())),
            };
            for (name, Span { at, length, .. }) in spans {
                let damaged = || IndexError::Damaged(format!("{name} is not where it should be in {bundle}"));
                let file = at.checked_add(*length).and_then(|end| bytes.get(*at..end));
                files.insert(name.to_owned(), file.ok_or_else(damaged)?.into());
            }
        }
        Ok(Ok(files))
    }

    /// Changes what is in memory, if that is still of this revision, and puts it in the place of what is in the archive.
    async fn change(
        &self,
        revision: &Revision,
        change: impl FnOnce(&Edition) -> Result<Edition, IndexError> + Send,
    ) -> Result<Saved, IndexError> {
        let held = self.held.lock().await.clone();
        let Some(base) = held.filter(|held| held.revision() == *revision) else { return Ok(Saved::Conflict) };
        self.publish(&base, change(&base.edition)?).await
    }

    /// Puts `edition` in the place of `base`.
    async fn publish(&self, base: &Held, edition: Edition) -> Result<Saved, IndexError> {
        let bundle = format!("{}/bundles/{}", self.prefix, self.ports.ids.fresh());
        let (mut bytes, mut files) = (Vec::new(), BTreeMap::new());
        for (name, content) in edition.files() {
            let kept = base.edition.files().get(name).is_some_and(|known| Arc::ptr_eq(known, content));
            let span = match base.manifest.files.get(name).filter(|_| kept) {
                Some(span) => span.clone(),
                None => {
                    let span = Span { bundle: bundle.clone(), at: bytes.len(), length: content.len() };
                    bytes.extend_from_slice(content);
                    span
                }
            };
            files.insert(name.clone(), span);
        }
        let revision = base.manifest.revision + 1;
        let manifest = Manifest { revision, meta: edition.meta().to_owned(), files };
        if manifest.bundles().contains(bundle.as_str()) {
            // Nobody else knows its name: so the repeat of a request whose answer was lost writes the same once more.
            if self.objects.put(&bundle, bytes, Condition::Any).await? == Wrote::Refused {
                return Ok(Saved::Conflict);
            }
        }
        let text = serde_json::to_vec(&manifest).map_err(|e| IndexError::Damaged(e.to_string()))?;
        let condition = base.tag.as_ref().map_or(Condition::Missing, Condition::Still);
        // After an error it may have been written. Whoever comes next looks; what is in memory is what the archive was, and
        // spares them most of what they would read.
        let Wrote::Written(tag) = self.objects.put(&self.manifest_name(), text, condition).await? else {
            return Ok(Saved::Conflict);
        };
        if revision.is_multiple_of(SWEEP_EVERY) {
            self.sweep(&manifest).await;
        }
        let checked = self.ports.clock.now();
        let held = Held { tag: Some(tag), manifest, edition: Arc::new(edition), checked, read_at: checked };
        *self.held.lock().await = Some(Arc::new(held));
        Ok(Saved::Saved)
    }

    /// Deletes bundles that this manifest does not name, but for those of the last hour. What cannot be deleted is for the
    /// next sweep.
    async fn sweep(&self, manifest: &Manifest) {
        let (live, now) = (manifest.bundles(), self.ports.clock.now());
        let swept = async {
            let mut swept = 0;
            for object in self.objects.list(&format!("{}/bundles/", self.prefix)).await? {
                let age = now.duration_since(object.at);
                if !live.contains(object.name.as_str()) && age.unsigned_abs() > GRACE && age.is_positive() {
                    self.objects.delete(&object.name).await?;
                    swept += 1;
                }
            }
            Ok::<_, IndexError>(swept)
        };
        match swept.await {
            Ok(swept) => tracing::info!(swept, revision = manifest.revision, "archive swept"),
            Err(error) => tracing::warn!(%error, "archive not swept"),
        }
    }
}

#[async_trait]
impl ProductIndex for Archive {
    /// At most [`REFRESH`] behind, but while the archive does not answer: then as it was when it last did.
    async fn search(&self, wanted: &Wanted) -> Result<Found, IndexError> {
        self.held_or_older().await?.edition.search(wanted)
    }

    async fn records(&self, keys: &[Key], consistency: Consistency) -> Result<Records, IndexError> {
        let held = self.held(consistency).await?;
        Ok(Records { revision: held.revision(), records: held.edition.records(keys)? })
    }

    async fn page(
        &self,
        segment: Segment,
        after: Option<Key>,
        limit: usize,
        consistency: Consistency,
    ) -> Result<Vec<Record>, IndexError> {
        self.held(consistency).await?.edition.page(segment, after, limit)
    }

    async fn save(&self, revision: &Revision, records: &[Record]) -> Result<Saved, IndexError> {
        self.change(revision, |edition| edition.with(records)).await
    }

    async fn remove(&self, revision: &Revision, keys: &[Key]) -> Result<Saved, IndexError> {
        self.change(revision, |edition| edition.without(keys)).await
    }

    /// Nobody can change a damaged index, so there is nothing to lose between looking and deleting.
    async fn reset(&self) -> Result<(), IndexError> {
        let mut held = self.held.lock().await;
        *held = None;
        match self.read(None, Consistency::Strong).await {
            Err(IndexError::Damaged(why)) => {
                tracing::error!(why, "product index begun anew");
                self.objects.delete(&self.manifest_name()).await
            }
            read => read.map(drop),
        }
    }
}
