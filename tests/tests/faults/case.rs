//! An order in trouble: what goes wrong, what people do meanwhile, and how it has to end.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    control::{Asked, Faults, Rule},
    mall::{Brings, People, Shopper, mall},
    seen::Seen,
    stack::Stack,
};

/// From the checkout to the end of the saga. Retries take seconds here, a twentieth of what they take on AWS;
/// but the fourth attempt of an undo begins after seven times the patience of `resume-sagas`, and messages
/// come back after a minute.
const OVER: Duration = Duration::from_secs(240);
/// From the end of the saga until all that follows by events has happened.
const SETTLED: Duration = Duration::from_secs(120);
/// The result of a case that did not end as it should.
pub const FAILED: &str = "FAILED";

/// The end that an order has to come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Completed,
    /// With this reason.
    Rejected(&'static str),
    /// With this reason, or none: then the customer cancelled.
    Cancelled(&'static str),
    /// Cancelled, by whoever was first.
    TakenBack,
    /// Completed or cancelled, by whoever was first.
    Either,
    /// The saga is stuck, for everybody to see. An operator has it go on: the order is rejected with this
    /// reason.
    ByHand(&'static str),
}

impl End {
    fn allows(self, status: &str, reason: &str) -> bool {
        match self {
            Self::Completed => (status, reason) == ("completed", ""),
            Self::Rejected(why) | Self::ByHand(why) => (status, reason) == ("rejected", why),
            Self::Cancelled(why) => (status, reason) == ("cancelled", why),
            Self::TakenBack => status == "cancelled",
            Self::Either => ["completed", "cancelled"].contains(&status),
        }
    }

    fn shown(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Rejected(_) => "rejected",
            Self::Cancelled(_) | Self::TakenBack => "cancelled",
            Self::Either => "completed or cancelled",
            Self::ByHand(_) => "stuck; by hand rejected",
        }
    }
}

/// Something that is done while a call is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meanwhile {
    Nothing,
    /// Another placement begins; the call goes on when a second one is held beside it.
    PlacedAgain,
    Cancelled,
    CustomerDisabled,
    /// The depot says that the order needs no list, before there is one.
    ListRefused,
    ListCancelled,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Case {
    pub name: String,
    pub brings: Brings,
    pub people: People,
    pub faults: Vec<Asked>,
    pub meanwhile: Meanwhile,
    pub end: End,
}

/// A case that was run.
pub struct Done {
    pub case: Case,
    pub shopper: Shopper,
    pub problems: Vec<String>,
    /// All that is known of the order, for whoever has to find out why.
    pub story: String,
}

type Rules<'a> = [(Asked, Rule<'a>)];

impl Case {
    /// Makes the case of a customer who pays in time, and nobody does anything else.
    pub fn new(name: impl Into<String>, brings: Brings, faults: &[Asked], end: End) -> Self {
        let (people, meanwhile) = (People::Pay, Meanwhile::Nothing);
        Self { name: name.into(), brings, people, faults: faults.to_vec(), meanwhile, end }
    }

    /// Places the order, lets the faults strike, and waits for the end.
    pub async fn run(self, stack: &Arc<Stack>, faults: &Faults) -> Done {
        let shopper = Shopper::new(stack.clone(), self.brings).await;
        let mut rules = Vec::new();
        for asked in &self.faults {
            rules.push((*asked, faults.at(&shopper.order, asked).await));
        }
        shopper.checks_out().await;
        let (acted, over) = tokio::join!(self.act(&shopper, &rules), shopper.until_over(self.people, OVER));
        let mut problems: Vec<String> = acted.err().into_iter().collect();
        match (over.as_deref(), self.end) {
            (Err(why), _) => problems.push(why.clone()),
            (Ok("stuck"), End::ByHand(_)) => problems.extend(by_hand(stack, &shopper, &rules).await.err()),
            (Ok("stuck"), _) => problems.push("the saga is stuck".to_owned()),
            (Ok(saga), End::ByHand(_)) => problems.push(format!("the saga was to be stuck, and is {saga}")),
            (Ok(_), _) => {}
        }
        for (asked, rule) in &rules {
            let became = rule.show().await;
            if became.struck < asked.strikes {
                problems.push(format!("{asked:?}: {became:?}"));
            }
            // A call that hangs is carried out now, when nobody waits for it any more.
            if !rule.release_and_wait().await {
                problems.push(format!("{asked:?}: a call that was held is not over"));
            }
        }
        if self.meanwhile == Meanwhile::PlacedAgain {
            problems.extend(shopper.is_placed_again().await.err());
        }
        let mut done = Done { case: self, shopper, problems, story: String::new() };
        let deadline = Instant::now() + SETTLED;
        let mut left = done.wrong(stack).await;
        while !left.is_empty() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(300)).await;
            left = done.wrong(stack).await;
        }
        done.problems.extend(left);
        done.tell(stack).await;
        done
    }

    /// Does what is to be done while a call is held, and lets it go on.
    async fn act(&self, shopper: &Shopper, rules: &Rules<'_>) -> Result<(), String> {
        let Some((_, held)) = rules.iter().find(|(asked, _)| asked.is_held()) else { return Ok(()) };
        if !held.holds(1).await {
            return Err("the step was not reached".to_owned());
        }
        let acted = self.act_meanwhile(shopper, held).await;
        for (_, rule) in rules {
            rule.release().await;
        }
        acted
    }

    async fn act_meanwhile(&self, shopper: &Shopper, held: &Rule<'_>) -> Result<(), String> {
        let list = format!("/api/depot/shopping/{}", shopper.list());
        let reply = match self.meanwhile {
            Meanwhile::Nothing => return Ok(()),
            Meanwhile::PlacedAgain => {
                shopper.is_placed_again().await?;
                let both = held.holds(2).await;
                return if both { Ok(()) } else { Err("no second call came to the step".to_owned()) };
            }
            Meanwhile::Cancelled => shopper.cancels().await,
            Meanwhile::CustomerDisabled => {
                shopper.put(&format!("/api/customers/{}/disable", shopper.customer), json!({})).await
            }
            Meanwhile::ListRefused => shopper.post(&list, json!({ "orderId": shopper.order })).await,
            Meanwhile::ListCancelled => shopper.delete(&list).await,
        };
        // Whoever cancels too late is clearly told.
        let too_late = self.meanwhile == Meanwhile::Cancelled && self.end != End::Cancelled("");
        let wanted = if too_late { (409, "ORDER_CANNOT_BE_CANCELLED") } else { (200, "") };
        let told = (reply.status, reply.body["code"].as_str().unwrap_or_default());
        if told == wanted { Ok(()) } else { Err(format!("{:?}: {reply:?}", self.meanwhile)) }
    }
}

/// Helps a saga that is stuck, as an operator does: finds it in the list, mends the cause, and has it go on.
async fn by_hand(stack: &Stack, shopper: &Shopper, rules: &Rules<'_>) -> Result<(), String> {
    let order = shopper.order.as_str();
    // A list is late by as long as an event travels.
    let deadline = Instant::now() + SETTLED;
    loop {
        let listed = stack.get("/api/sagas?status=stuck&limit=100").await;
        if listed.body["sagas"].as_array().is_some_and(|all| all.iter().any(|saga| saga["id"] == order)) {
            break;
        }
        if Instant::now() > deadline {
            return Err(format!("the saga is not among those that are stuck: {listed:?}"));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for (_, rule) in rules {
        rule.stop().await;
    }
    mall(&["saga", "retry", order]).await?;
    // An operator who is not sure undoes it once more: nothing is done twice.
    match mall(&["saga", "compensate", order, "--yes"]).await {
        Err(said) if !said.contains("nothing to do") => Err(said),
        Ok(_) | Err(_) => Ok(()),
    }
}

impl Done {
    /// Shows the end for the table.
    pub fn ended(&self) -> &'static str {
        if self.problems.is_empty() { self.case.end.shown() } else { FAILED }
    }

    /// Looks once more, when all cases have ended.
    pub async fn look_again(&mut self, stack: &Stack) {
        if self.problems.is_empty() {
            let later = self.wrong(stack).await;
            self.problems.extend(later.iter().map(|problem| format!("later: {problem}")));
            self.tell(stack).await;
        }
    }

    /// Lists everything that is not as it should be by now.
    async fn wrong(&self, stack: &Stack) -> Vec<String> {
        let seen = Seen::of(stack, &self.shopper).await;
        let mut problems = seen.contradictions(&self.shopper);
        if !self.case.end.allows(seen.status(), seen.reason()) {
            problems.push(format!("the order was to be {:?}, and is {}", self.case.end, seen.order));
        }
        problems
    }

    async fn tell(&mut self, stack: &Stack) {
        if self.problems.is_empty() {
            return;
        }
        let seen = Seen::of(stack, &self.shopper).await;
        let saga = stack.get(&format!("/api/sagas/{}", self.shopper.order)).await.body["saga"].take();
        let mut lines = vec![format!("  {}", serde_json::to_string(&seen).unwrap_or_default())];
        for entries in [&saga["timeline"]["entries"], &saga["history"]] {
            for entry in entries.as_array().into_iter().flatten() {
                let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
                lines.push(format!("  {} {} {} {}", text("at"), text("what"), text("text"), text("by")));
            }
        }
        lines.push(format!("  {}", saga["run"]));
        self.story = lines.join("\n");
    }
}
