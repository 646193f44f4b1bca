//! Working through a queue in portions: never more is held than can be done before others see it again.
//!
//! A message that was received is ours for [`HIDDEN`], and afterwards everybody's. So no more are taken than can be worked
//! in half of that time, those that were not reached are given back, and the next portion is taken. What is passed over, or
//! has to stay, comes back by itself in between; it is known by its id, and never worked twice.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::letter::Letter;
use crate::errors::Result;

/// How long a received message stays hidden by itself.
pub const HIDDEN: Duration = Duration::from_secs(60);

/// How long one portion is taken, at most.
const TAKING: Duration = Duration::from_secs(15);

/// A message that was held for so long is given back rather than begun: the hold must outlast what is done with it.
const TOO_OLD: Duration = Duration::from_secs(45);

/// While one message is worked, it is held anew so often: reading the whole event table for it takes minutes.
const HOLD_ANEW: Duration = Duration::from_secs(10);

/// A queue, and the clock by which its messages are held.
pub trait Queue {
    /// Receives up to `room` messages (ten at most), and hides them for [`HIDDEN`]; none when nothing is visible.
    async fn receive(&self, room: usize) -> Result<Vec<Letter>>;
    /// Hides a message for [`HIDDEN`] from now on.
    async fn hold(&self, letter: &Letter) -> Result<()>;
    /// Lets others see these, at once. One that fails has come back by itself, or somebody else has it.
    async fn release(&self, letters: &[&Letter]) -> Result<()>;
    /// Deletes a message that is held.
    async fn delete(&self, letter: &Letter) -> Result<()>;
    /// What time it is.
    fn now(&self) -> Instant;
    /// Returns when so much time has gone by.
    async fn wait(&self, time: Duration);
}

/// What is to be done with a message after it was worked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Deleted.
    Gone,
    /// Left where it is, and seen by others when all is done.
    Stays,
}

/// How the work went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Worked {
    /// Messages that were worked.
    pub count: usize,
    /// Whether there may be more: the limit was reached, or messages come back faster than they can be passed over.
    pub more: bool,
    /// Messages that came after the command had begun, and were let alone.
    pub late: usize,
}

/// Which messages are worked, and how many at a time.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// When the command began, or what it may work was shown: what was sent to the queue later is not for this command,
    /// or it would never end.
    pub begun: Timestamp,
    /// How many are worked, at most.
    pub limit: usize,
    /// How many are taken at a time.
    pub portion: usize,
}

/// How many messages can be worked in half of the time for which they are held.
pub fn portion(rate: u32) -> usize {
    let seconds = HIDDEN.as_secs() / 2;
    usize::try_from(seconds * u64::from(rate)).unwrap_or(usize::MAX)
}

/// A message that is hidden from others, and since when.
struct Held {
    letter: Letter,
    since: Instant,
}

/// Works each message of a queue that is chosen, once. All that still is there at the end others can see again.
///
/// # Errors
/// The first error of the work, or of the queue; nothing is worked after it.
pub async fn each<Q: Queue>(
    queue: &Q,
    bounds: Bounds,
    chosen: impl Fn(&Letter) -> bool,
    work: impl AsyncFnMut(&Letter) -> Result<Then>,
) -> Result<Worked> {
    let mut held = HashMap::new();
    let worked = all(queue, bounds, &mut held, chosen, work).await;
    let rest: Vec<Held> = held.into_values().collect();
    let released = give_back(queue, &rest).await;
    // Why it stopped says more than that the rest comes back a minute later.
    let worked = worked?;
    released.map(|()| worked)
}

async fn all<Q: Queue>(
    queue: &Q,
    bounds: Bounds,
    aside: &mut HashMap<String, Held>,
    chosen: impl Fn(&Letter) -> bool,
    mut work: impl AsyncFnMut(&Letter) -> Result<Then>,
) -> Result<Worked> {
    let (mut known, mut late) = (HashSet::new(), HashSet::new());
    let mut worked = Worked::default();
    loop {
        let (mut portion, mut news, mut dry) = (Vec::new(), false, false);
        let size = bounds.portion.clamp(1, bounds.limit.saturating_sub(worked.count).max(1));
        let started = queue.now();
        while worked.count < bounds.limit && portion.len() < size && queue.now() - started < TAKING {
            let since = queue.now();
            let letters = queue.receive((size - portion.len()).min(10)).await?;
            if letters.is_empty() {
                dry = true;
                break;
            }
            for letter in letters {
                let id = letter.id.clone();
                if letter.sent.is_some_and(|sent| sent > bounds.begun) {
                    late.insert(id.clone());
                } else if known.insert(id.clone()) {
                    news = true;
                    if chosen(&letter) {
                        portion.push(Held { letter, since });
                        continue;
                    }
                }
                // Also one that came back: its newest receipt is the one that counts.
                aside.insert(id, Held { letter, since });
            }
        }
        let mut portion = portion.into_iter();
        while let Some(next) = portion.next() {
            if queue.now() - next.since > TOO_OLD {
                let rest: Vec<Held> = std::iter::once(next).chain(portion).collect();
                for one in &rest {
                    known.remove(&one.letter.id);
                }
                give_back(queue, &rest).await?;
                dry = false;
                break;
            }
            let done = while_held(queue, &next.letter, work(&next.letter)).await;
            match done {
                Ok(Then::Gone) => queue.delete(&next.letter).await?,
                Ok(Then::Stays) => {
                    aside.insert(next.letter.id.clone(), next);
                }
                Err(error) => {
                    let rest = std::iter::once(next).chain(portion);
                    aside.extend(rest.map(|one| (one.letter.id.clone(), one)));
                    return Err(error);
                }
            }
            worked.count += 1;
        }
        worked.late = late.len();
        if dry || !news {
            worked.more = !dry;
            return Ok(worked);
        }
    }
}

/// Holds a message anew for as long as it is worked.
async fn while_held<Q: Queue, T>(queue: &Q, letter: &Letter, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = queue.wait(HOLD_ANEW) => {
                // Should somebody else have it after all, the worst is that it is worked twice, which readers notice.
                if let Err(error) = queue.hold(letter).await {
                    crate::ui::note(format!("Message {} may be seen by others meanwhile: {error}", letter.id));
                }
            }
        }
    }
}

/// Lets others see what is still ours.
async fn give_back<Q: Queue>(queue: &Q, held: &[Held]) -> Result<()> {
    let now = queue.now();
    let ours: Vec<&Letter> =
        held.iter().filter(|one| now - one.since < HIDDEN).map(|one| &one.letter).collect();
    queue.release(&ours).await
}

#[cfg(test)]
mod tests {
    use std::{
        cell::{Cell, RefCell, RefMut},
        future::poll_fn,
        task::Poll,
    };

    use super::*;
    use crate::{dlq::letter::Content, errors::Error};

    /// How long a call of the queue takes.
    const CALL: Duration = Duration::from_millis(20);

    struct Message {
        id: String,
        sent: Timestamp,
        visible: Instant,
        receipt: u64,
        worked: usize,
        deleted: bool,
    }

    /// A queue as strict as SQS is, by a clock that only goes when somebody takes time.
    struct Fake {
        messages: RefCell<Vec<Message>>,
        now: Cell<Instant>,
        receipts: Cell<u64>,
        /// Most that were hidden at a time.
        hidden: Cell<usize>,
    }

    fn begun() -> Timestamp {
        "2026-01-31T12:00:00Z".parse().unwrap()
    }

    fn bounds(rate: u32) -> Bounds {
        Bounds { begun: begun(), limit: 10_000, portion: portion(rate) }
    }

    impl Fake {
        fn of(count: usize) -> Self {
            let queue = Self {
                messages: RefCell::default(),
                now: Cell::new(Instant::now()),
                receipts: Cell::new(0),
                hidden: Cell::new(0),
            };
            (0..count).for_each(|number| queue.send(&number.to_string(), begun()));
            queue
        }

        fn send(&self, id: &str, sent: Timestamp) {
            let visible = self.now.get();
            let message = Message { id: id.into(), sent, visible, receipt: 0, worked: 0, deleted: false };
            self.messages.borrow_mut().push(message);
        }

        fn take(&self, time: Duration) {
            self.now.set(self.now.get() + time);
        }

        /// Something that takes time, and lets the clock go meanwhile.
        async fn slowly(&self, time: Duration) {
            let end = self.now.get() + time;
            while self.now.get() < end {
                self.take(Duration::from_secs(1));
                tokio::task::yield_now().await;
            }
        }

        fn work(&self, id: &str) {
            self.messages.borrow_mut().iter_mut().find(|message| message.id == id).unwrap().worked += 1;
        }

        /// What is there: the message, how often it was worked, whether others see it.
        fn left(&self) -> Vec<(String, usize, bool)> {
            let now = self.now.get();
            let messages = self.messages.borrow();
            let there = messages.iter().filter(|message| !message.deleted);
            there.map(|message| (message.id.clone(), message.worked, message.visible <= now)).collect()
        }

        /// The message that this receipt holds, as long as it does. A receipt names its message, and counts.
        fn held(&self, letter: &Letter) -> Result<RefMut<'_, Message>> {
            let (index, receipt) = letter.receipt.split_once(' ').unwrap();
            let index: usize = index.parse().unwrap();
            let message = RefMut::map(self.messages.borrow_mut(), |messages| &mut messages[index]);
            let ours = !message.deleted
                && message.receipt.to_string() == receipt
                && message.visible > self.now.get();
            if ours { Ok(message) } else { Err(lost(letter)) }
        }
    }

    fn lost(letter: &Letter) -> Error {
        Error::Aws { operation: "fake", why: format!("MessageNotInflight: {}", letter.id) }
    }

    impl Queue for Fake {
        async fn receive(&self, room: usize) -> Result<Vec<Letter>> {
            assert!((1..=10).contains(&room), "SQS gives one to ten");
            self.take(CALL);
            let (now, mut letters) = (self.now.get(), Vec::new());
            let mut messages = self.messages.borrow_mut();
            let visible = |message: &Message| !message.deleted && message.visible <= now;
            let found = messages.iter_mut().enumerate().filter(|(_, message)| visible(message)).take(room);
            for (index, message) in found {
                self.receipts.set(self.receipts.get() + 1);
                (message.receipt, message.visible) = (self.receipts.get(), now + HIDDEN);
                letters.push(Letter {
                    reason: None,
                    id: message.id.clone(),
                    receipt: format!("{index} {}", message.receipt),
                    sent: Some(message.sent),
                    received: 1,
                    body: String::new(),
                    content: Content::Unknown(String::new()),
                });
            }
            let hidden = messages.iter().filter(|message| !message.deleted && message.visible > now).count();
            self.hidden.set(self.hidden.get().max(hidden));
            Ok(letters)
        }

        async fn hold(&self, letter: &Letter) -> Result<()> {
            self.held(letter)?.visible = self.now.get() + HIDDEN;
            Ok(())
        }

        async fn release(&self, letters: &[&Letter]) -> Result<()> {
            for letter in letters {
                self.held(letter)?.visible = self.now.get();
            }
            Ok(())
        }

        async fn delete(&self, letter: &Letter) -> Result<()> {
            self.take(CALL);
            self.held(letter)?.deleted = true;
            Ok(())
        }

        fn now(&self) -> Instant {
            self.now.get()
        }

        async fn wait(&self, time: Duration) {
            let end = self.now.get() + time;
            poll_fn(|context| {
                context.waker().wake_by_ref();
                if self.now.get() >= end { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        }
    }

    #[tokio::test]
    async fn of_thousands_none_is_lost_to_others_at_any_rate() {
        // Also where a message takes longer than its share, as reading, sending and deleting over the Internet does.
        let courses =
            [(10_000, 20, 50), (2_000, 2, 500), (300, 1, 1_000), (2_000, 20, 400), (10_000, 1_000, 1)];
        for (count, rate, takes) in courses {
            let (queue, mut seen) = (Fake::of(count), HashSet::new());
            let worked = each(
                &queue,
                bounds(rate),
                |_| true,
                async |letter: &Letter| {
                    queue.take(Duration::from_millis(takes));
                    assert!(seen.insert(letter.id.clone()), "{} was worked twice", letter.id);
                    Ok(Then::Gone)
                },
            );
            let worked = worked.await.unwrap();
            assert_eq!((worked.count, worked.late, seen.len()), (count, 0, count), "at {rate}");
            assert!(queue.left().is_empty(), "at {rate}");
            assert!(queue.hidden.get() <= portion(rate), "{} were hidden at {rate}", queue.hidden.get());
        }
    }

    #[tokio::test]
    async fn what_has_to_stay_is_worked_once_however_often_it_comes_back() {
        let queue = Fake::of(300);
        let worked = each(
            &queue,
            bounds(2),
            |_| true,
            async |letter: &Letter| {
                queue.take(Duration::from_millis(500));
                queue.work(&letter.id);
                Ok(if letter.id.ends_with('7') { Then::Stays } else { Then::Gone })
            },
        );
        assert_eq!(worked.await.unwrap(), Worked { count: 300, more: false, late: 0 });
        let left = queue.left();
        assert_eq!(left.len(), 30);
        assert!(left.iter().all(|(_, worked, visible)| *worked == 1 && *visible), "{left:?}");
    }

    #[tokio::test]
    async fn what_was_not_chosen_is_let_alone_and_seen_by_others() {
        let queue = Fake::of(500);
        let worked = each(
            &queue,
            bounds(1),
            |letter| letter.id.len() == 2,
            async |_: &Letter| {
                queue.take(Duration::from_secs(1));
                Ok(Then::Gone)
            },
        );
        assert_eq!(worked.await.unwrap(), Worked { count: 90, more: false, late: 0 });
        let left = queue.left();
        assert_eq!(left.len(), 410);
        assert!(left.iter().all(|(_, _, visible)| *visible));
    }

    #[tokio::test]
    async fn what_fails_again_does_not_go_round_in_circles() {
        let queue = Fake::of(1_000);
        let worked = each(
            &queue,
            bounds(20),
            |_| true,
            async |letter: &Letter| {
                queue.take(Duration::from_millis(50));
                queue.send(&format!("{} again", letter.id), begun() + Duration::from_secs(1));
                Ok(Then::Gone)
            },
        );
        let worked = worked.await.unwrap();
        assert_eq!((worked.count, worked.more), (1_000, false));
        // Those of the first portion are back while the second is taken.
        assert!(worked.late > 0, "none came back, so nothing is proved");
        assert_eq!(queue.left().len(), 1_000);
        assert!(queue.left().iter().all(|(id, _, visible)| id.ends_with("again") && *visible));
    }

    #[tokio::test]
    async fn a_message_that_takes_minutes_stays_ours_and_the_others_get_their_turn() {
        let (queue, mut seen) = (Fake::of(20), 0);
        let worked = each(
            &queue,
            bounds(20),
            |_| true,
            async |letter: &Letter| {
                queue.work(&letter.id);
                if ["3", "4"].contains(&letter.id.as_str()) {
                    queue.slowly(Duration::from_secs(300)).await;
                }
                seen += 1;
                Ok(Then::Gone)
            },
        );
        assert_eq!(worked.await.unwrap().count, 20);
        assert_eq!((queue.left().len(), seen), (0, 20));
    }

    #[tokio::test]
    async fn no_more_than_the_limit_are_worked_and_the_rest_is_told() {
        let queue = Fake::of(100);
        let bounds = Bounds { limit: 25, ..bounds(20) };
        let worked = each(&queue, bounds, |_| true, async |_: &Letter| Ok(Then::Gone)).await.unwrap();
        assert_eq!(worked, Worked { count: 25, more: true, late: 0 });
        assert!(queue.left().iter().all(|(_, _, visible)| *visible));
    }

    #[tokio::test]
    async fn an_error_stops_the_work_and_hides_nothing_from_others() {
        let queue = Fake::of(100);
        let worked = each(
            &queue,
            bounds(20),
            |_| true,
            async |letter: &Letter| {
                if letter.id == "50" { Err(lost(letter)) } else { Ok(Then::Gone) }
            },
        );
        assert!(worked.await.unwrap_err().to_string().contains("MessageNotInflight: 50"));
        let left = queue.left();
        assert_eq!(left.len(), 50);
        assert!(left.iter().all(|(_, _, visible)| *visible));
    }
}
