//! The engine: one edition of the index, in memory, with Tantivy. No storage, no clock, no waiting.
//!
//! An [`Edition`] is a set of immutable files and never changes; [`Edition::with`] makes the next one, which shares all
//! files with it but those of what changed. There is one document for each product, which holds the product's record and
//! that of its stock, and one for each store. Names of stores are joined when something is found, so a store with a new
//! name is one document and not as many as it sells products.

use std::{
    collections::{BTreeMap, BinaryHeap, HashMap},
    io::Write,
    path::Path,
    sync::{Arc, OnceLock},
};

use catalogue::{StoreCopy, Stores};
use contracts::ids::StoreId;
use event_store::Segment;
use kernel::Uuid;
use projection::Projection;
use serde::{Deserialize, Serialize};
use tantivy::{
    DocAddress, DocId, Index, IndexReader, IndexSettings, IndexWriter, ReloadPolicy, Score, Searcher,
    SegmentOrdinal, SegmentReader, TantivyDocument, TantivyError, Term,
    collector::{Collector, DocSetCollector, SegmentCollector},
    columnar::Column,
    directory::{Directory, RamDirectory, TerminatingWrite},
    indexer::{IndexWriterOptions, LogMergePolicy, MergePolicy, NoMergePolicy},
    query::{
        AllQuery, BooleanQuery, ConstScoreQuery, DisjunctionMaxQuery, FuzzyTermQuery, Occur, Query,
        RangeQuery, TermQuery, TermSetQuery,
    },
    schema::{
        FAST, Field, IndexRecordOption, STORED, STRING, Schema, TextFieldIndexing, TextOptions, Value as _,
    },
    tokenizer::{
        AsciiFoldingFilter, LowerCaser, RawTokenizer, RemoveLongFilter, SimpleTokenizer, TextAnalyzer,
        TokenizerManager,
    },
};

use crate::{
    index::{Found, FoundProduct, IndexError, Key, Kind, Place, Record, Wanted},
    rows::{ProductRow, Products, Stock, StockRow},
};

/// The files of an edition, by name.
pub type Files = BTreeMap<String, Arc<[u8]>>;

/// Tantivy's least; ten thousand products take a third of it.
const WRITER_MEMORY: usize = 15_000_000;
/// Segments of about the same size that are merged into one. Fewer means fewer files to open and more to write.
const MERGE_AT: usize = 8;
/// Segments of fewer documents count as of the same size: what some batches leave behind.
const SMALL: u32 = 64;
/// Share of a segment's documents that may be deleted before it is written anew.
const DELETED: f32 = 0.3;

/// Words of a text that count; what people type has a handful.
const MAX_WORDS: usize = 12;
/// Longest word, in bytes. What is longer is neither indexed nor searched.
const MAX_WORD: usize = 64;
/// From this many letters on a word may have one typo: "pin" is not "pen".
const ONE_TYPO: usize = 4;
/// From this many letters on a word may have two.
const TWO_TYPOS: usize = 8;
/// Up to this many letters. What finds typos grows with a word's letters, and with their bytes: a page of Chinese would take hundreds of
/// megabytes. So a word that is not plain Latin once its accents are gone is found as it is, and by its beginning.
const LONGEST_WITH_TYPOS: usize = 20;
/// Words of a text that may have typos: the others are found as they are, and by their beginnings.
const WORDS_WITH_TYPOS: usize = 4;

/// How much a word counts, by where it is found and how. Each step is larger than the one from the name to the description.
const EXACT: f32 = 100.0;
const PREFIX: f32 = 60.0;
const TYPO: f32 = 24.0;
const TYPOS: f32 = 12.0;
/// What is taken off when it is found in the description only.
const IN_DESCRIPTION: f32 = 6.0;
/// What is added when the whole text is the SKU, or the name, or the name begins with it.
const IS_SKU: f32 = 10_000.0;
const IS_NAME: f32 = 5_000.0;
const BEGINS_NAME: f32 = 10.0;

const WORDS: &str = "words";
const WHOLE: &str = "whole";
const META: &str = "meta.json";
/// The halves of a product's or store's id.
const HIGH: &str = "high";
const LOW: &str = "low";

/// One edition of the index.
pub struct Edition {
    files: Files,
    meta: String,
    fields: Fields,
    analyzers: TokenizerManager,
    searcher: Searcher,
    stores: HashMap<StoreId, StoreCopy>,
    /// Where each record is, in the order of the keys; made when it is first asked for.
    listing: OnceLock<Vec<(Key, DocAddress)>>,
}

#[derive(Clone, Copy)]
struct Fields {
    high: Field,
    low: Field,
    key: Field,
    role: Field,
    name: Field,
    name_whole: Field,
    description: Field,
    sku: Field,
    sku_whole: Field,
    store: Field,
    available: Field,
    price: Field,
    body: Field,
}

/// Roles of documents, in the field of that name.
const LISTED: &str = "listed";
const HIDDEN: &str = "hidden";
const STORE: &str = "store";

/// What is stored with a document: its records.
#[derive(Serialize, Deserialize)]
struct Body {
    records: Vec<Record>,
}

fn schema() -> (Schema, Fields) {
    let text = |tokenizer: &str| {
        let indexing = TextFieldIndexing::default()
            .set_tokenizer(tokenizer)
            .set_fieldnorms(false)
            .set_index_option(IndexRecordOption::Basic);
        TextOptions::default().set_indexing_options(indexing)
    };
    let mut schema = Schema::builder();
    let fields = Fields {
        high: schema.add_u64_field(HIGH, FAST),
        low: schema.add_u64_field(LOW, FAST),
        key: schema.add_text_field("key", STRING),
        role: schema.add_text_field("role", STRING),
        name: schema.add_text_field("name", text(WORDS)),
        name_whole: schema.add_text_field("name_whole", text(WHOLE)),
        description: schema.add_text_field("description", text(WORDS)),
        sku: schema.add_text_field("sku", text(WORDS)),
        sku_whole: schema.add_text_field("sku_whole", text(WHOLE)),
        store: schema.add_text_field("store", STRING),
        available: schema.add_text_field("available", STRING),
        price: schema.add_i64_field("price", FAST),
        body: schema.add_text_field("body", STORED),
    };
    (schema.build(), fields)
}

fn analyzers() -> TokenizerManager {
    let manager = TokenizerManager::default();
    let long = || RemoveLongFilter::limit(MAX_WORD);
    let words = TextAnalyzer::builder(SimpleTokenizer::default()).filter(long()).filter(LowerCaser);
    manager.register(WORDS, words.filter(AsciiFoldingFilter).build());
    let whole = TextAnalyzer::builder(RawTokenizer::default()).filter(LowerCaser);
    manager.register(WHOLE, whole.filter(AsciiFoldingFilter).build());
    manager
}

impl From<TantivyError> for IndexError {
    fn from(error: TantivyError) -> Self {
        Self::Damaged(error.to_string())
    }
}

/// A text without its accents, where these are letters of their own: `e` and U+0301 for `é`, as some keyboards send it, and the dot
/// that is left of `İ` when it is made small.
fn plain(text: &str) -> String {
    text.to_lowercase().chars().filter(|letter| !('\u{300}'..='\u{36f}').contains(letter)).collect()
}

fn damaged(why: impl ToString) -> IndexError {
    IndexError::Damaged(why.to_string())
}

impl Edition {
    /// An edition without records.
    ///
    /// # Errors
    /// [`IndexError::Damaged`].
    pub fn empty() -> Result<Self, IndexError> {
        let directory = RamDirectory::create();
        Index::create(directory.clone(), schema().0, settings())?;
        Self::of(&directory, &Files::new())
    }

    /// The edition of these files, as [`Edition::files`] and [`Edition::meta`] gave them.
    ///
    /// # Errors
    /// [`IndexError::Damaged`].
    pub fn open(files: Files, meta: &str) -> Result<Self, IndexError> {
        Self::of(&directory(&files, meta)?, &files)
    }

    /// The edition in a directory, most of whose files are these.
    fn of(directory: &RamDirectory, known: &Files) -> Result<Self, IndexError> {
        let read = |name: &str| directory.atomic_read(Path::new(name)).map_err(damaged);
        let meta = String::from_utf8(read(META)?).map_err(damaged)?;
        let mut index = Index::open(directory.clone())?;
        index.set_tokenizers(analyzers());
        let mut files = Files::new();
        for path in index.load_metas()?.list_segment_files() {
            let name = path.to_string_lossy().into_owned();
            // Of the candidates, a segment has those that it needs.
            if let Some(bytes) = known.get(&name) {
                files.insert(name, bytes.clone());
            } else if directory.exists(&path).map_err(damaged)? {
                let bytes = read(&name)?;
                files.insert(name, bytes.into());
            }
        }
        let reader: IndexReader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        let (_, fields) = schema();
        let (analyzers, searcher) = (index.tokenizers().clone(), reader.searcher());
        let (stores, listing) = (HashMap::new(), OnceLock::new());
        let mut edition = Self { files, meta, fields, analyzers, searcher, stores, listing };
        edition.stores = edition.all_stores()?;
        Ok(edition)
    }

    /// Its files.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Which of them make the index up: Tantivy's own list.
    pub fn meta(&self) -> &str {
        &self.meta
    }

    /// How many segments it has.
    pub fn segments(&self) -> usize {
        self.searcher.segment_readers().len()
    }

    /// The next edition: this one with these records replaced.
    ///
    /// # Errors
    /// [`IndexError::Damaged`].
    pub fn with(&self, records: &[Record]) -> Result<Self, IndexError> {
        let mut documents: BTreeMap<String, Vec<Record>> = BTreeMap::new();
        for record in records {
            documents.entry(document_of(record.key)).or_default().push(record.clone());
        }
        for (key, records) in &mut documents {
            // A product and its stock share a document: what is not replaced stays.
            for kept in self.document(key)? {
                if !records.iter().any(|record| record.key == kept.key) {
                    records.push(kept);
                }
            }
        }
        self.rewritten(documents)
    }

    /// The next edition: this one without the records under these keys.
    ///
    /// # Errors
    /// [`IndexError::Damaged`].
    pub fn without(&self, keys: &[Key]) -> Result<Self, IndexError> {
        let mut documents = BTreeMap::new();
        for key in keys {
            let document = document_of(*key);
            let kept = self.document(&document)?;
            documents.insert(document, kept.into_iter().filter(|kept| !keys.contains(&kept.key)).collect());
        }
        self.rewritten(documents)
    }

    /// The next edition: this one with these documents made anew of these records, or left out where there are none.
    fn rewritten(&self, documents: BTreeMap<String, Vec<Record>>) -> Result<Self, IndexError> {
        let directory = directory(&self.files, &self.meta)?;
        let mut index = Index::open(directory.clone())?;
        index.set_tokenizers(analyzers());
        let options = IndexWriterOptions::builder()
            .num_worker_threads(1)
            .num_merge_threads(1)
            .memory_budget_per_thread(WRITER_MEMORY)
            .build();
        let mut writer: IndexWriter = index.writer_with_options(options)?;
        // Merges are made below, before the edition is: nothing goes on behind anybody's back.
        writer.set_merge_policy(Box::new(NoMergePolicy));
        for (key, records) in documents {
            writer.delete_term(Term::from_field_text(self.fields.key, &key));
            if !records.is_empty() {
                writer.add_document(self.written(&key, records)?)?;
            }
        }
        writer.commit()?;
        let mut policy = LogMergePolicy::default();
        policy.set_min_num_segments(MERGE_AT);
        policy.set_min_layer_size(SMALL);
        policy.set_del_docs_ratio_before_merge(DELETED);
        for candidate in policy.compute_merge_candidates(&index.searchable_segment_metas()?) {
            writer.merge(&candidate.0).wait()?;
        }
        writer.wait_merging_threads()?;
        Self::of(&directory, &self.files)
    }

    /// The records under these keys, as far as there are any.
    ///
    /// # Errors
    /// [`IndexError::Damaged`].
    pub fn records(&self, keys: &[Key]) -> Result<Vec<Record>, IndexError> {
        let mut found = Vec::new();
        for key in keys {
            let records = self.document(&document_of(*key))?;
            found.extend(records.into_iter().filter(|record| record.key == *key));
        }
        Ok(found)
    }

    /// The first records of a segment after a key, in the order of their keys.
    ///
    /// # Errors
    /// [`IndexError::Damaged`].
    pub fn page(
        &self,
        segment: Segment,
        after: Option<Key>,
        limit: usize,
    ) -> Result<Vec<Record>, IndexError> {
        let listing = self.listing()?;
        let from = after.map_or(0, |after| listing.partition_point(|(key, _)| *key <= after));
        let total = u128::from(segment.total.max(1));
        // Ids are random at their ends, so segments are of about one size.
        let ours = |key: &Key| key.id.as_u128() % total == u128::from(segment.index);
        let mut records = Vec::new();
        for (key, address) in listing[from..].iter().filter(|(key, _)| ours(key)).take(limit) {
            let found = self.body(*address)?.into_iter().find(|record| record.key == *key);
            records.push(found.ok_or_else(|| damaged(format!("{key} is gone from {address:?}")))?);
        }
        Ok(records)
    }

    fn listing(&self) -> Result<&[(Key, DocAddress)], IndexError> {
        if let Some(listing) = self.listing.get() {
            return Ok(listing);
        }
        let mut listing = Vec::new();
        for address in self.searcher.search(&AllQuery, &DocSetCollector)? {
            listing.extend(self.body(address)?.iter().map(|record| (record.key, address)));
        }
        listing.sort_unstable();
        Ok(self.listing.get_or_init(|| listing))
    }

    /// The products that fit, best first.
    ///
    /// # Errors
    /// [`IndexError::Damaged`].
    pub fn search(&self, wanted: &Wanted) -> Result<Found, IndexError> {
        let query = self.query(wanted)?;
        let best = Best { limit: wanted.limit, after: wanted.after.map(|place| Rank::of(&place)) };
        let mut found = self.searcher.search(&query, &best)?;
        let more = found.len() > wanted.limit;
        found.truncate(wanted.limit);
        let next = found.last().filter(|_| more).map(|(rank, _)| rank.place());
        let products = found.into_iter().filter_map(|(_, address)| self.found(address).transpose());
        Ok(Found { products: products.collect::<Result<_, _>>()?, next })
    }

    /// What is shown of a product; none of one whose row is of other code, and cannot be read by this.
    fn found(&self, address: DocAddress) -> Result<Option<FoundProduct>, IndexError> {
        let records = self.body(address)?;
        let Some(product): Option<ProductRow> = row::<Products>(&records, Kind::Product)? else {
            tracing::warn!(?address, "a product's row is of another schema: sweep the product index");
            return Ok(None);
        };
        let available = row::<Stock>(&records, Kind::Stock)?.is_none_or(|stock: StockRow| stock.available);
        let store_name = self.stores.get(&product.store_id).map(|store| store.name.clone());
        Ok(Some(FoundProduct { product, store_name: store_name.unwrap_or_default(), available }))
    }

    fn query(&self, wanted: &Wanted) -> Result<BooleanQuery, IndexError> {
        let mut parts: Vec<(Occur, Box<dyn Query>)> = Vec::new();
        let mut only = |query: Box<dyn Query>| {
            parts.push((Occur::Must, Box::new(ConstScoreQuery::new(query, 0.0))));
        };
        only(term(self.fields.role, LISTED));
        if let Some(store) = wanted.store_id {
            only(term(self.fields.store, &store.to_string()));
        }
        if let Some(available) = wanted.available {
            only(term(self.fields.available, &available.to_string()));
        }
        if wanted.min_price.is_some() || wanted.max_price.is_some() {
            let bound = |price: Option<kernel::Money>| {
                price.map_or(std::ops::Bound::Unbounded, |price| {
                    std::ops::Bound::Included(Term::from_field_i64(self.fields.price, price.minor()))
                })
            };
            only(Box::new(RangeQuery::new(bound(wanted.min_price), bound(wanted.max_price))));
        }
        if wanted.only_participating {
            let open = self.stores.values().filter(|store| store.participating);
            let terms = open.map(|store| Term::from_field_text(self.fields.store, &store.id.to_string()));
            only(Box::new(TermSetQuery::new(terms.collect::<Vec<_>>())));
        }
        let words = self.words(WORDS, &wanted.text)?;
        if words.is_empty() && !wanted.text.trim().is_empty() {
            // Nothing but signs: it fits nothing, rather than everything.
            only(Box::new(tantivy::query::EmptyQuery));
        }
        for (place, word) in words.iter().take(MAX_WORDS).enumerate() {
            let plain = word.is_ascii() && word.len() <= LONGEST_WITH_TYPOS;
            parts.push((Occur::Must, self.word(word, plain && place < WORDS_WITH_TYPOS)));
        }
        for whole in self.words(WHOLE, wanted.text.trim())?.iter().filter(|whole| !whole.is_empty()) {
            let mut more = |query: Box<dyn Query>, score| {
                parts.push((Occur::Should, Box::new(ConstScoreQuery::new(query, score))));
            };
            more(term(self.fields.sku_whole, whole), IS_SKU);
            more(term(self.fields.name_whole, whole), IS_NAME);
            let begins = Term::from_field_text(self.fields.name_whole, whole);
            more(Box::new(FuzzyTermQuery::new_prefix(begins, 0, true)), BEGINS_NAME);
        }
        Ok(BooleanQuery::new(parts))
    }

    /// One word, in the best way in which it is found.
    fn word(&self, word: &str, may_have_typos: bool) -> Box<dyn Query> {
        let letters = word.chars().count();
        let mut ways: Vec<Box<dyn Query>> = Vec::new();
        let fields = [
            (self.fields.name, 0.0, may_have_typos),
            // Who types a number that is nearly right is not helped by another product.
            (self.fields.sku, 0.0, false),
            (self.fields.description, IN_DESCRIPTION, may_have_typos),
        ];
        for (field, less, typos) in fields {
            let of = || Term::from_field_text(field, word);
            let mut way = |query: Box<dyn Query>, score: f32| {
                ways.push(Box::new(ConstScoreQuery::new(query, score - less)));
            };
            way(term(field, word), EXACT);
            way(Box::new(FuzzyTermQuery::new_prefix(of(), 0, true)), PREFIX);
            if typos && letters >= ONE_TYPO {
                way(Box::new(FuzzyTermQuery::new(of(), 1, true)), TYPO);
            }
            if typos && letters >= TWO_TYPOS {
                way(Box::new(FuzzyTermQuery::new(of(), 2, true)), TYPOS);
            }
        }
        Box::new(DisjunctionMaxQuery::new(ways))
    }

    fn words(&self, analyzer: &str, text: &str) -> Result<Vec<String>, IndexError> {
        let missing = || damaged(format!("there is no analyzer {analyzer}"));
        let mut analyzer = self.analyzers.get(analyzer).ok_or_else(missing)?;
        let mut words = Vec::new();
        analyzer.token_stream(&plain(text)).process(&mut |token| words.push(token.text.clone()));
        Ok(words)
    }

    fn written(&self, key: &str, records: Vec<Record>) -> Result<TantivyDocument, IndexError> {
        let fields = self.fields;
        let mut document = TantivyDocument::default();
        document.add_text(fields.key, key);
        let product: Option<ProductRow> = row::<Products>(&records, Kind::Product)?;
        let stock: Option<StockRow> = row::<Stock>(&records, Kind::Stock)?;
        let id = records.first().map(|record| record.key.id.as_u128()).unwrap_or_default();
        document.add_u64(fields.high, (id >> 64) as u64);
        document.add_u64(fields.low, id as u64);
        let role = match &product {
            Some(product) if product.on_sale => LISTED,
            Some(_) => HIDDEN,
            None if records.iter().any(|record| record.key.kind == Kind::Store) => STORE,
            None => HIDDEN,
        };
        document.add_text(fields.role, role);
        if let Some(product) = product.filter(|product| product.on_sale) {
            let (name, sku) = (plain(&product.name), plain(&product.sku));
            document.add_text(fields.name, &name);
            document.add_text(fields.name_whole, name.trim());
            document.add_text(fields.description, plain(&product.description));
            document.add_text(fields.sku, &sku);
            document.add_text(fields.sku_whole, sku.trim());
            document.add_text(fields.store, product.store_id.to_string());
            document.add_text(fields.available, stock.is_none_or(|stock| stock.available).to_string());
            document.add_i64(fields.price, product.price.minor());
        }
        document.add_text(fields.body, serde_json::to_string(&Body { records }).map_err(damaged)?);
        Ok(document)
    }

    /// The records of the document with this key; none when there is no such document.
    fn document(&self, key: &str) -> Result<Vec<Record>, IndexError> {
        self.all(&*term(self.fields.key, key))
    }

    fn all(&self, query: &dyn Query) -> Result<Vec<Record>, IndexError> {
        let mut records = Vec::new();
        for address in self.searcher.search(query, &DocSetCollector)? {
            records.extend(self.body(address)?);
        }
        Ok(records)
    }

    fn body(&self, address: DocAddress) -> Result<Vec<Record>, IndexError> {
        let document: TantivyDocument = self.searcher.doc(address)?;
        let body = document.get_first(self.fields.body).and_then(|body| body.as_str());
        let body = body.ok_or_else(|| damaged(format!("{address:?} has no body")))?;
        Ok(serde_json::from_str::<Body>(body).map_err(damaged)?.records)
    }

    fn all_stores(&self) -> Result<HashMap<StoreId, StoreCopy>, IndexError> {
        let records = self.all(&*term(self.fields.role, STORE))?;
        let mut stores = HashMap::with_capacity(records.len());
        for record in &records {
            let store: Option<StoreCopy> = row::<Stores>(std::slice::from_ref(record), Kind::Store)?;
            stores.extend(store.map(|store| (store.id, store)));
        }
        Ok(stores)
    }
}

/// Nothing is compressed: what is saved in size is paid for in binary and in time.
fn settings() -> IndexSettings {
    IndexSettings { docstore_compress_dedicated_thread: false, ..IndexSettings::default() }
}

fn directory(files: &Files, meta: &str) -> Result<RamDirectory, IndexError> {
    let directory = RamDirectory::create();
    for (name, bytes) in files {
        let mut file = directory.open_write(Path::new(name)).map_err(damaged)?;
        file.write_all(bytes).map_err(damaged)?;
        file.terminate().map_err(damaged)?;
    }
    directory.atomic_write(Path::new(META), meta.as_bytes()).map_err(damaged)?;
    Ok(directory)
}

fn term(field: Field, text: &str) -> Box<dyn Query> {
    Box::new(TermQuery::new(Term::from_field_text(field, text), IndexRecordOption::Basic))
}

/// The document that a record is kept in.
fn document_of(key: Key) -> String {
    match key.kind {
        Kind::Product | Kind::Stock => format!("product {}", key.id),
        Kind::Store => format!("store {}", key.id),
    }
}

/// The row of this kind, if the document has one of today's schema.
fn row<P: Projection>(records: &[Record], kind: Kind) -> Result<Option<P::Row>, IndexError> {
    let Some(record) = records.iter().find(|record| record.key.kind == kind) else { return Ok(None) };
    let row = record.row.clone().map(serde_json::from_value).transpose();
    match record.schema == P::SCHEMA {
        true => row.map_err(damaged),
        // Of other code: as far as this code can read it, until its next event or a sweep.
        false => Ok(row.ok().flatten()),
    }
}

/// Where a document stands: the more it counts the earlier, then by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    score: std::cmp::Reverse<u32>,
    id: u128,
}

impl Rank {
    fn of(place: &Place) -> Self {
        Self { score: std::cmp::Reverse(place.score), id: place.id.uuid().as_u128() }
    }

    fn place(&self) -> Place {
        Place { score: self.score.0, id: kernel::Id::new(Uuid::from_u128(self.id)) }
    }
}

/// Collects the best documents after a place, and one more, which tells whether there is a next page.
struct Best {
    limit: usize,
    after: Option<Rank>,
}

struct BestOfSegment {
    room: usize,
    after: Option<Rank>,
    segment: SegmentOrdinal,
    high: Column<u64>,
    low: Column<u64>,
    /// The worst of them is at the top.
    best: BinaryHeap<(Rank, DocId)>,
}

impl Collector for Best {
    type Fruit = Vec<(Rank, DocAddress)>;
    type Child = BestOfSegment;

    fn for_segment(&self, segment: SegmentOrdinal, reader: &SegmentReader) -> tantivy::Result<BestOfSegment> {
        let columns = reader.fast_fields();
        Ok(BestOfSegment {
            room: self.limit + 1,
            after: self.after,
            segment,
            high: columns.u64(HIGH)?,
            low: columns.u64(LOW)?,
            best: BinaryHeap::new(),
        })
    }

    fn requires_scoring(&self) -> bool {
        true
    }

    fn merge_fruits(&self, found: Vec<Vec<(Rank, DocAddress)>>) -> tantivy::Result<Vec<(Rank, DocAddress)>> {
        let mut all: Vec<(Rank, DocAddress)> = found.into_iter().flatten().collect();
        all.sort_unstable_by_key(|(rank, _)| *rank);
        all.truncate(self.limit + 1);
        Ok(all)
    }
}

impl SegmentCollector for BestOfSegment {
    type Fruit = Vec<(Rank, DocAddress)>;

    fn collect(&mut self, doc: DocId, score: Score) {
        let half = |column: &Column<u64>| u128::from(column.first(doc).unwrap_or_default());
        // Scores are sums of small whole numbers, which floats hold exactly.
        let rank =
            Rank { score: std::cmp::Reverse(score as u32), id: half(&self.high) << 64 | half(&self.low) };
        if self.after.is_some_and(|after| rank <= after) {
            return;
        }
        self.best.push((rank, doc));
        if self.best.len() > self.room {
            self.best.pop();
        }
    }

    fn harvest(self) -> Vec<(Rank, DocAddress)> {
        let segment = self.segment;
        self.best.into_iter().map(|(rank, doc)| (rank, DocAddress::new(segment, doc))).collect()
    }
}
