//! Reads that must not be older than the reader.

use std::sync::{Arc, atomic::Ordering};

use kernel::Version;
use projection::{ReadError, Versioned};
use serde_json::json;

use crate::stage::{Ledgers, Stage, Watched, closed, noted, opened, raw};

#[tokio::test]
async fn users_read_their_own_writes_before_the_events_arrive() {
    for stage in Stage::both().await {
        stage.commit("a", vec![opened("o", "1"), noted(1)]).await;
        assert_eq!(stage.row("a").await, None, "without a minimum, nobody looks");
        let asked = Some(Version::new(2));
        let found = stage.projector.read("a", asked).await.unwrap().map(|v| (v.row, v.applied.get()));
        assert_eq!(found, stage.folded("a").await, "{}", stage.name);
        assert_eq!(stage.row("a").await, found, "the answer was written back");
        // A row inside a commit, and one that is new enough.
        let more = stage.commit("a", vec![noted(2), noted(3), noted(4)]).await;
        stage.projector.deliver(&more[0]).await.unwrap();
        let read = |n| stage.projector.read("a", Some(Version::new(n)));
        assert_eq!(read(3).await.unwrap().unwrap().applied.get(), 3);
        assert_eq!(read(4).await.unwrap().unwrap().applied.get(), 5);
        assert_eq!(stage.row("a").await, stage.folded("a").await);
    }
}

#[tokio::test]
async fn a_version_that_the_stream_has_not_reached_is_said_so() {
    for stage in Stage::both().await {
        let read = |id, n| stage.projector.read(id, Some(Version::new(n)));
        let nothing = ReadError::NotReached { asked: Version::FIRST, actual: Version::NONE };
        assert_eq!(read("a", 1).await, Err(nothing), "{}", stage.name);
        stage.commit("a", vec![opened("o", "1"), noted(1)]).await;
        let behind = ReadError::NotReached { asked: Version::new(7), actual: Version::new(2) };
        assert_eq!(read("a", 7).await, Err(behind));
        assert_eq!(stage.row("a").await, stage.folded("a").await, "what there is was applied");
        assert_eq!(read("b", 0).await, Ok(None), "version 0 is before everything");
    }
}

#[tokio::test]
async fn an_id_that_names_no_stream_is_refused() {
    let stage = Stage::memory();
    let read = stage.projector.read("", Some(Version::FIRST)).await;
    for error in [read.unwrap_err(), stage.projector.read_latest("").await.unwrap_err()] {
        assert!(matches!(error, ReadError::NotAnId(_)), "{error}");
    }
}

#[tokio::test]
async fn a_reader_gets_its_answer_even_if_it_cannot_be_written_back() {
    for stage in Stage::both().await {
        let watched = Watched::new(Arc::clone(&stage.views));
        let projector = stage.projector_of::<Ledgers>(watched.clone());
        stage.commit("a", vec![opened("o", "1")]).await;
        watched.conflicts.store(1, Ordering::SeqCst);
        for _ in 0..2 {
            let found = projector.read("a", Some(Version::FIRST)).await.unwrap();
            let Versioned { row, applied } = found.unwrap();
            assert_eq!(Some((row, applied.get())), stage.folded("a").await, "{}", stage.name);
            watched.lost_answers.store(1, Ordering::SeqCst);
        }
        assert!(stage.world.slept().is_empty(), "a reader does not wait");
    }
}

#[tokio::test]
async fn a_poison_event_stops_only_readers_who_asked_for_more() {
    for stage in Stage::both().await {
        stage.commit("a", vec![opened("o", "1"), noted(1), raw("Burnt", json!({})), noted(2)]).await;
        let read = |n| stage.projector.read("a", Some(Version::new(n)));
        assert_eq!(read(2).await.unwrap().unwrap().applied.get(), 2, "{}", stage.name);
        let error = read(4).await.unwrap_err();
        assert!(matches!(&error, ReadError::Poison { version, .. } if version.get() == 3), "{error}");
    }
}

#[tokio::test]
async fn a_decision_is_made_on_the_end_of_the_stream_and_not_on_an_old_row() {
    for stage in Stage::both().await {
        let events = stage.commit("a", vec![opened("o", "1"), noted(1)]).await;
        stage.projector.deliver(&events[0]).await.unwrap();
        // The second event got lost, and more happened since.
        stage.commit("a", vec![noted(2)]).await;
        stage.commit("a", vec![noted(3), closed()]).await;
        let found = stage.projector.read_latest("a").await.unwrap().map(|v| (v.row, v.applied.get()));
        assert_eq!(found, stage.folded("a").await, "{}", stage.name);
        assert_eq!(stage.row("a").await, found, "the answer was written back");
    }
}

#[tokio::test]
async fn a_row_that_is_at_the_end_already_is_answered_and_not_written_again() {
    for stage in Stage::both().await {
        let watched = Watched::new(Arc::clone(&stage.views));
        let projector = stage.projector_of::<Ledgers>(watched.clone());
        stage.commit("a", vec![opened("o", "1")]).await;
        for _ in 0..3 {
            let found = projector.read_latest("a").await.unwrap().map(|v| (v.row, v.applied.get()));
            assert_eq!(found, stage.folded("a").await, "{}", stage.name);
        }
        assert_eq!(watched.puts.load(Ordering::SeqCst), 1, "{}: the first reader wrote it", stage.name);
    }
}

#[tokio::test]
async fn the_latest_is_answered_even_if_it_cannot_be_written_back() {
    for stage in Stage::both().await {
        let watched = Watched::new(Arc::clone(&stage.views));
        let projector = stage.projector_of::<Ledgers>(watched.clone());
        stage.commit("a", vec![opened("o", "1"), noted(1)]).await;
        watched.conflicts.store(1, Ordering::SeqCst);
        let found = projector.read_latest("a").await.unwrap().map(|v| (v.row, v.applied.get()));
        assert_eq!(found, stage.folded("a").await, "{}", stage.name);
    }
}

#[tokio::test]
async fn a_poison_event_is_an_error_and_never_an_old_row_that_passes_for_the_latest() {
    for stage in Stage::both().await {
        let events = stage.commit("a", vec![opened("o", "1"), noted(1), raw("Burnt", json!({}))]).await;
        stage.projector.deliver(&events[1]).await.unwrap();
        let old = stage.row("a").await;
        assert_eq!(old.as_ref().map(|(_, applied)| *applied), Some(2), "{}", stage.name);
        let error = stage.projector.read_latest("a").await.unwrap_err();
        assert!(matches!(&error, ReadError::Poison { version, .. } if version.get() == 3), "{error}");
        assert_eq!(stage.row("a").await, old);
    }
}

#[tokio::test]
async fn a_stream_that_there_is_not_has_no_latest_row_and_gets_none() {
    for stage in Stage::both().await {
        let watched = Watched::new(Arc::clone(&stage.views));
        let projector = stage.projector_of::<Ledgers>(watched.clone());
        assert_eq!(projector.read_latest("nobody").await, Ok(None), "{}", stage.name);
        assert_eq!(watched.puts.load(Ordering::SeqCst), 0);
    }
}
