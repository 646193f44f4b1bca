//! Product search: what the stores sell, found by words, with typos and ranking.
//!
//! Events of products, stores and stock come in through one queue, are folded into rows as every view's are, and go into an
//! index that is kept in S3. Queries read it from there. It is a binary of its own, so that the search engine weighs on
//! nothing else.
//!
//! | room | what is in it |
//! | --- | --- |
//! | [`api`] | the query |
//! | [`views`] | what keeps the index up to date |
//! | [`sweep`] | the comparison of the index with the events |
//! | [`rows`] | the rows, and how events change them |
//! | [`desk`], `writer` | where the events of a batch become rows, and how those get into one index |
//! | [`index`] | the port: what an index has to be able to do |
//! | [`engine`] | one edition of the index, with Tantivy |
//! | [`archive`], [`objects`], [`s3`] | where editions are kept, and how one follows the other |
//! | [`docs`] | what the HTTP API looks like |

pub mod api;
pub mod archive;
pub mod desk;
pub mod docs;
pub mod engine;
pub mod index;
pub mod objects;
pub mod rows;
pub mod s3;
pub mod sweep;
pub mod views;
mod writer;
