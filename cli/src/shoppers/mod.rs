//! `mall shoppers`: clients that browse, buy and keep shop as people do, bots that collect and customers who pay, until time
//! or orders are up; and what the mall made of it.
//!
//! | module | the idea |
//! | --- | --- |
//! | `options` | what can be asked for |
//! | `mind` | what a client does next, from a seed |
//! | `client`, `depot`, `orders` | who does it: clients, bots, payers |
//! | `operations`, `http` | requests, and which answers are no surprise |
//! | `world` | what they share |
//! | `killer` | kills functions meanwhile |
//! | `ledger`, `books`, `report` | what came of it, and whether goods and money add up |
//!
//! A seed repeats the decisions, not the run: what there is to choose from depends on what the mall answers, and when.

mod books;
mod client;
mod depot;
mod http;
mod killer;
mod ledger;
mod mind;
mod operations;
mod options;
mod orders;
mod report;
mod world;

use std::{
    process::ExitCode,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::task::{JoinSet, LocalSet};

pub use self::options::Options;
use self::{
    books::Books,
    client::Client,
    http::Api,
    killer::Killer,
    mind::Mind,
    orders::{Attention, Orders},
    report::{Report, Run},
    world::{Phase, World},
};
use crate::{
    errors::{Error, Result},
    files,
    paths::Home,
    stack::Stack,
    ui,
};

/// Stores that are set up before shopping begins: without one there would be nothing to buy.
const FIRST_STORES: usize = 3;
/// Until their products are in the catalogue. Functions start cold.
const CATALOGUE: Duration = Duration::from_secs(90);
/// What a client is in the middle of is waited for so long, when shopping is over.
const LAST_BEHAVIOUR: Duration = Duration::from_secs(60);
/// Orders are waited for until none has moved for so long: a message whose function was busy comes back after its visibility
/// time-out of a minute.
const SETTLING: Duration = Duration::from_secs(180);
/// Bots finish the list they have in hand.
const LAST_LIST: Duration = Duration::from_secs(10);
/// Between two looks at the run.
const TICK: Duration = Duration::from_millis(200);

/// When what began, to tell how long it took.
#[derive(Debug, Clone, Copy, Default)]
struct Times {
    opened: Option<Instant>,
    closed: Option<Instant>,
    settled: Option<Instant>,
}

impl Times {
    /// Shopping and settling, in seconds.
    fn seconds(self) -> (f64, f64) {
        let now = self.settled.unwrap_or_else(Instant::now);
        let closed = self.closed.unwrap_or(now);
        let opened = self.opened.unwrap_or(closed);
        let tenths = |time: Duration| (time.as_secs_f64() * 10.0).round() / 10.0;
        (tenths(closed.duration_since(opened)), tenths(now.duration_since(closed)))
    }
}

/// Lets them shop, and reports. The code tells whether anything happened that must not.
pub async fn run(home: &Home, options: &Options) -> Result<ExitCode> {
    let target = options.choice.target(home)?;
    target.reach().await?;
    let stack = Stack::deployed(home, &target)?;
    let killer = Killer::new(&target, options.kill)?;
    let sqs = aws_sdk_sqs::Client::new(&target.sdk().await);
    LocalSet::new().run_until(shop(&stack, &sqs, killer, options)).await
}

async fn shop(
    stack: &Stack,
    sqs: &aws_sdk_sqs::Client,
    killer: Option<Killer>,
    options: &Options,
) -> Result<ExitCode> {
    let seed = options.seed.unwrap_or_else(|| u64::from(fastrand::u32(..)));
    ui::line(format!(
        "{} clients, {} bots, {} payers at {}, {}; seed {seed}",
        options.clients,
        options.bots,
        options.payers,
        stack.api,
        until(options)
    ));
    let orders = Orders::new(options.orders, options.bots, options.payers);
    let world = Rc::new(World::new(Api::new(stack)?, orders, options.pause.0.clone()));
    let mut minds = Mind::many(seed, usize::from(options.clients) + 1, options.refused);
    let mut times = Times::default();
    // None: ended early, by whom.
    let books = tokio::select! {
        done = whole(&world, (stack, sqs), killer, options, &mut minds, &mut times) => Some(done?),
        name = crate::interrupted() => {
            ui::note(format!("{} {name}: ended early", ui::warn("!")));
            None
        }
    };

    let (shopping_seconds, settling_seconds) = times.seconds();
    let run = Run {
        seed,
        clients: options.clients,
        bots: options.bots,
        payers: options.payers,
        refused_percent: options.refused,
        kill_percent: options.kill,
        shopping_seconds,
        settling_seconds,
        ended_early: books.is_none(),
    };
    let (left, moving) = (world.orders.unfinished(), world.orders.moving());
    let report = Report::of(&world.api.ledger.borrow(), run, left, &moving, books);
    report.lines().into_iter().for_each(ui::line);
    if let Some(path) = &options.json {
        let json = serde_json::to_string_pretty(&report)
            .map_err(|e| Error::Damaged { path: path.clone(), why: e.to_string() })?;
        files::write(path, (json + "\n").as_bytes())?;
        ui::line(format!("  The same as JSON: {}", path.display()));
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn until(options: &Options) -> String {
    let time = options.lasts().map(|time| format!("for {}", ui::duration(time)));
    let orders = options.orders.map(|orders| format!("until {orders} orders are placed"));
    [time, orders].into_iter().flatten().collect::<Vec<_>>().join(" or ")
}

/// All of it, if nobody ends it. Who is left when this is dropped goes with it.
async fn whole(
    world: &Rc<World>,
    (stack, sqs): (&Stack, &aws_sdk_sqs::Client),
    killer: Option<Killer>,
    options: &Options,
    minds: &mut Vec<Mind>,
    times: &mut Times,
) -> Result<Books> {
    open_first_stores(world, minds).await?;
    // What is reported begins here.
    world.api.ledger.take();
    times.opened = Some(Instant::now());

    let (mut clients, mut bots, mut others) = (JoinSet::new(), JoinSet::new(), JoinSet::new());
    for mind in minds.drain(..) {
        clients.spawn_local(Client::new(world.clone(), mind).run());
    }
    for number in 1..=options.bots {
        bots.spawn_local(depot::work(world.clone(), number));
    }
    for _ in 0..options.payers {
        others.spawn_local(orders::pay(world.clone()));
    }
    for _ in 0..orders::LOOKERS {
        others.spawn_local(orders::follow(world.clone(), Attention::Close));
        others.spawn_local(orders::follow(world.clone(), Attention::Loose));
    }

    if let Some(killer) = killer {
        others.spawn_local(killer.run(world.clone()));
    }

    let task = ui::task("Shopping");
    let began = Instant::now();
    let (mut placed, mut moved) = (world.api.ledger.borrow().orders.placed, Instant::now());
    while options.lasts().is_none_or(|time| began.elapsed() < time) && !world.orders.are_enough(placed) {
        tokio::time::sleep(TICK).await;
        task.at(&progress(world, began.elapsed()));
        let now = world.api.ledger.borrow().orders.placed;
        if now != placed {
            (placed, moved) = (now, Instant::now());
        }
        // With a number of orders as the only end, a mall that takes none would keep us for ever.
        if options.lasts().is_none() && moved.elapsed() > SETTLING {
            world.api.surprise(format!("no order could be placed for {SETTLING:?}: given up"));
            break;
        }
    }
    drop(task);
    world.turn_to(Phase::Settling);
    times.closed = Some(Instant::now());

    let task = ui::task("Taking orders to their ends");
    if tokio::time::timeout(LAST_BEHAVIOUR, finish(&mut clients)).await.is_err() {
        world.api.surprise(format!("{} clients did not finish within {LAST_BEHAVIOUR:?}", clients.len()));
        clients.shutdown().await;
    }
    let began = Instant::now();
    let (mut before, mut moved) = (world.orders.moving(), Instant::now());
    while !before.is_empty() && moved.elapsed() < SETTLING {
        tokio::time::sleep(TICK).await;
        task.at(&progress(world, began.elapsed()));
        let now = world.orders.moving();
        if now != before {
            (before, moved) = (now, Instant::now());
        }
    }
    drop(task);
    world.turn_to(Phase::Over);
    // A bot that does not finish in time leaves its list as it is: the orders of this run are where they are.
    let _ = tokio::time::timeout(LAST_LIST, finish(&mut bots)).await;
    times.settled = Some(Instant::now());
    // What is read now is no part of the run.
    let ledger = world.api.ledger.take();
    let task = ui::task("Closing the books");
    let closed = books::close(world, sqs, stack).await;
    drop(task);
    let read = world.api.ledger.replace(ledger);
    for surprise in read.surprises {
        world.api.surprise(surprise);
    }
    closed
}

/// Waits for all; one that panicked is a bug of ours and is shown as one.
async fn finish(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

/// Sets up a few stores and waits until shoppers can see what they sell.
async fn open_first_stores(world: &Rc<World>, minds: &mut Vec<Mind>) -> Result<()> {
    let task = ui::task("Setting up the first stores");
    let Some(mind) = minds.pop() else { return Ok(()) };
    let mut keeper = Client::new(world.clone(), mind);
    let mut last = None;
    for _ in 0..FIRST_STORES {
        last = keeper.open_store().await;
        if last.is_none() {
            let why = world.api.ledger.borrow().surprises.last().cloned().unwrap_or_default();
            return Err(Error::Http { request: "setting up a store".into(), why });
        }
    }
    let began = Instant::now();
    while let Some(store) = last {
        if keeper.shelf(store).await.is_ok_and(|shelf| !shelf.is_empty()) {
            break;
        }
        if began.elapsed() > CATALOGUE {
            let what = "the first products' arrival in the catalogue".into();
            return Err(Error::Waiting { what, limit: CATALOGUE, last: "an empty shelf".into() });
        }
        tokio::time::sleep(TICK).await;
    }
    task.done("The first stores are open");
    Ok(())
}

fn progress(world: &World, elapsed: Duration) -> String {
    let ledger = world.api.ledger.borrow();
    let ended: u64 = ledger.orders.ended.values().sum();
    let surprises = match ledger.surprised {
        0 => String::new(),
        count => format!(" · {count} surprises"),
    };
    format!(
        "{} · {} requests · {} orders, {ended} at an end, {} under way{surprises}",
        ui::duration(elapsed),
        ledger.requests(),
        ledger.orders.placed,
        world.orders.moving().values().sum::<u64>()
    )
}
