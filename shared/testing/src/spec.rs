//! Given/when/then: the rules of an aggregate, told as examples.
//!
//! ```ignore
//! given::<Basket>([started()]).when(Checkout { payment }).then_refused(BasketRefusal::Empty);
//! given::<Basket>([started(), added(2)])
//!     .when(Checkout { payment })
//!     .then([checked_out()])
//!     .when(Cancel)
//!     .then_refused_as("BASKET_CANNOT_BE_CANCELED");
//! ```
//!
//! Whatever passes through is also taken through its stored form and back, so that an event type
//! that is missing in `SCHEMAS`, or a state that does not survive its snapshot, fails here.

use std::fmt::Debug;

use kernel::{Aggregate, Event, Refusal, aggregate::fold};

/// Starts a story: these events have happened.
///
/// # Panics
/// When they cannot have happened in this order, or do not survive being stored.
#[track_caller]
pub fn given<A: Aggregate>(history: impl IntoIterator<Item = A::Event>) -> Given<A> {
    let events: Vec<A::Event> = history.into_iter().collect();
    Given { state: continued(None, &events, "given") }
}

/// An aggregate with a past.
#[derive(Debug, Clone)]
pub struct Given<A> {
    state: Option<A>,
}

impl<A: Aggregate> Given<A> {
    /// The command that is sent now.
    pub fn when(self, command: A::Command) -> When<A> {
        let decided = A::decide(self.state.as_ref(), &command);
        When { state: self.state, decided }
    }

    /// The state as it is at this point of the story; `None` when nothing has happened.
    pub fn state(&self) -> Option<&A> {
        self.state.as_ref()
    }
}

/// What a command met. One of the `then`s says what should have come of it.
#[must_use = "a story without a `then` tells nothing"]
#[derive(Debug)]
pub struct When<A: Aggregate> {
    state: Option<A>,
    decided: Result<Vec<A::Event>, A::Refusal>,
}

impl<A: Aggregate> When<A>
where
    A::Event: Debug,
{
    /// Exactly these events happen. The story may go on from there.
    ///
    /// # Panics
    /// When anything else comes of the command.
    #[track_caller]
    pub fn then(self, expected: impl IntoIterator<Item = A::Event>) -> Given<A>
    where
        A::Event: PartialEq,
    {
        let expected: Vec<A::Event> = expected.into_iter().collect();
        let decided = match self.decided {
            Ok(events) => events,
            Err(refusal) => panic!(
                "expected these events:\n{expected:#?}\nbut the command was refused: {refusal} ({})",
                refusal.code()
            ),
        };
        if decided != expected {
            let (left, right) = (format!("{expected:#?}"), format!("{decided:#?}"));
            panic!("other events than expected (- expected, + decided):\n{}", diff(&left, &right));
        }
        Given { state: continued(self.state, &decided, "decided") }
    }

    /// Nothing happens: it is already so.
    ///
    /// # Panics
    /// When anything else comes of the command.
    #[track_caller]
    pub fn then_nothing(self) -> Given<A> {
        match self.decided {
            Ok(events) if events.is_empty() => Given { state: self.state },
            Ok(events) => panic!("expected nothing to happen, but this did:\n{events:#?}"),
            Err(refusal) => {
                panic!(
                    "expected nothing to happen, but the command was refused: {refusal} ({})",
                    refusal.code()
                )
            }
        }
    }

    /// The command is refused, with this refusal.
    ///
    /// # Panics
    /// When it is not, or is for another reason.
    #[track_caller]
    pub fn then_refused(self, expected: A::Refusal)
    where
        A::Refusal: PartialEq,
    {
        let refusal = self.refusal(expected.code());
        if refusal != expected {
            let (left, right) = (format!("{expected:#?}"), format!("{refusal:#?}"));
            panic!("another refusal than expected (- expected, + met):\n{}", diff(&left, &right));
        }
    }

    /// The command is refused, with a refusal of this code.
    ///
    /// # Panics
    /// When it is not, or is for another reason.
    #[track_caller]
    pub fn then_refused_as(self, code: &str) {
        let refusal = self.refusal(code);
        assert!(refusal.code() == code, "expected {code}, but met {}: {refusal}", refusal.code());
    }

    #[track_caller]
    fn refusal(self, expected: &str) -> A::Refusal {
        match self.decided {
            Err(refusal) => refusal,
            Ok(events) => panic!("expected the refusal {expected}, but this happened:\n{events:#?}"),
        }
    }
}

/// The state after `events`, which are taken through their stored form first.
#[track_caller]
fn continued<A: Aggregate>(state: Option<A>, events: &[A::Event], what: &str) -> Option<A> {
    let stored: Vec<A::Event> = events
        .iter()
        .map(|event| {
            let name = event.event_type();
            let raw = event.to_raw().unwrap_or_else(|e| panic!("{what}: {name} cannot be stored: {e}"));
            A::Event::from_raw(&raw.event_type, raw.schema, &raw.data)
                .unwrap_or_else(|e| panic!("{what}: {name} cannot be read back: {e}"))
        })
        .collect();
    let state = fold::<A>(state, &stored).unwrap_or_else(|e| panic!("{what}: {e}"));
    if let Some(state) = &state {
        let json = |state: &A| serde_json::to_value(state).expect("a state can be written as JSON");
        let written = json(state);
        let read: A = serde_json::from_value(written.clone())
            .unwrap_or_else(|e| panic!("{what}: the state's snapshot cannot be read back: {e}\n{written:#}"));
        assert!(json(&read) == written, "{what}: the state changes in its snapshot:\n{written:#}");
    }
    state
}

/// The lines of two texts, marked: `-` only in the left one, `+` only in the right one.
fn diff(left: &str, right: &str) -> String {
    let (left, right): (Vec<&str>, Vec<&str>) = (left.lines().collect(), right.lines().collect());
    // common[l][r]: length of the longest common subsequence of what follows line l and line r.
    let mut common = vec![vec![0usize; right.len() + 1]; left.len() + 1];
    for l in (0..left.len()).rev() {
        for r in (0..right.len()).rev() {
            common[l][r] = if left[l] == right[r] {
                common[l + 1][r + 1] + 1
            } else {
                common[l + 1][r].max(common[l][r + 1])
            };
        }
    }
    let (mut l, mut r, mut lines) = (0, 0, Vec::new());
    while l < left.len() || r < right.len() {
        if l < left.len() && r < right.len() && left[l] == right[r] {
            lines.push(format!("  {}", left[l]));
            (l, r) = (l + 1, r + 1);
        } else if r == right.len() || (l < left.len() && common[l + 1][r] >= common[l][r + 1]) {
            lines.push(format!("- {}", left[l]));
            l += 1;
        } else {
            lines.push(format!("+ {}", right[r]));
            r += 1;
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use std::{fmt, panic};

    use kernel::{BrokenHistory, RefusalKind};
    use serde::{Deserialize, Serialize};

    use super::*;

    /// A door, which opens and closes.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    enum Door {
        Open,
        Shut,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "type", content = "data")]
    enum Moved {
        Opened { by: String },
        Shut {},
        Forgotten {},
    }

    impl Event for Moved {
        const SCHEMAS: &'static [(&'static str, u16)] = &[("Opened", 1), ("Shut", 1)];

        fn event_type(&self) -> &'static str {
            match self {
                Moved::Opened { .. } => "Opened",
                Moved::Shut {} => "Shut",
                Moved::Forgotten {} => "Forgotten",
            }
        }
    }

    #[derive(Debug, Clone, PartialEq)]
    struct Locked;

    impl fmt::Display for Locked {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the door is locked")
        }
    }
    impl std::error::Error for Locked {}
    impl Refusal for Locked {
        fn code(&self) -> &'static str {
            "LOCKED"
        }
        fn kind(&self) -> RefusalKind {
            RefusalKind::Conflict
        }
    }

    impl Aggregate for Door {
        const CATEGORY: &'static str = "test.Door";
        const STATE_SCHEMA: u16 = 1;
        type Command = &'static str;
        type Event = Moved;
        type Refusal = Locked;

        fn decide(state: Option<&Self>, command: &&'static str) -> Result<Vec<Moved>, Locked> {
            match (state, *command) {
                (Some(Door::Open), "open") => Ok(vec![]),
                (_, "open") => Ok(vec![Moved::Opened { by: "ann".into() }]),
                (_, "forget") => Ok(vec![Moved::Forgotten {}]),
                _ => Err(Locked),
            }
        }

        fn evolve(_: Option<Self>, event: &Moved) -> Result<Self, BrokenHistory> {
            Ok(if matches!(event, Moved::Opened { .. }) { Door::Open } else { Door::Shut })
        }
    }

    fn opened(by: &str) -> Moved {
        Moved::Opened { by: by.into() }
    }

    fn complaint(story: impl FnOnce() + panic::UnwindSafe) -> String {
        let payload = panic::catch_unwind(story).expect_err("the story passed");
        *payload.downcast::<String>().expect("a panic with a text")
    }

    #[test]
    fn a_story_that_holds_passes_and_goes_on() {
        let door =
            given::<Door>([Moved::Shut {}]).when("open").then([opened("ann")]).when("open").then_nothing();
        assert_eq!(door.state(), Some(&Door::Open));
        given::<Door>([]).when("break").then_refused(Locked);
        given::<Door>([]).when("break").then_refused_as("LOCKED");
    }

    #[test]
    fn a_wrong_event_is_shown_against_the_right_one() {
        let text = complaint(|| {
            given::<Door>([]).when("open").then([opened("bob")]);
        });
        assert!(
            text.contains(r#"-         by: "bob","#) && text.contains(r#"+         by: "ann","#),
            "{text}"
        );
        let text = complaint(|| {
            given::<Door>([]).when("break").then([opened("ann")]);
        });
        assert!(text.contains("the door is locked (LOCKED)"), "{text}");
    }

    #[test]
    fn no_wrong_story_passes() {
        complaint(|| given::<Door>([]).when("open").then_refused(Locked));
        complaint(|| given::<Door>([]).when("break").then_refused_as("SHUT"));
        complaint(|| {
            given::<Door>([]).when("open").then_nothing();
        });
    }

    #[test]
    fn an_event_that_could_not_be_stored_fails_the_story() {
        let text = complaint(|| {
            given::<Door>([]).when("forget").then([Moved::Forgotten {}]);
        });
        assert!(text.contains("Forgotten cannot be stored: unknown event type"), "{text}");
    }
}
