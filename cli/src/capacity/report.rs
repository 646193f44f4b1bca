//! The limits, to be read: in a terminal and in docs/CAPACITY.md.

use std::collections::BTreeMap;

use super::{
    model::{Limit, Raise, System},
    plan,
    quotas::{Quota, Quotas, REGIONS},
    scale,
};
use crate::{
    cost::EVENT_TABLE,
    tables::{Marks, Shown},
};

pub const MARKS: Marks = Marks {
    begin: "<!-- made by `cargo mall capacity --write`: from here -->",
    end: "<!-- made by `cargo mall capacity --write`: to here -->",
};

/// The rate that a stage should take once its quotas are raised.
pub const RAISED_TO: f64 = 1_000.0;
/// A limit that bites above this in all columns is left out.
const FAR: f64 = 5_000.0;
/// Shares of the best-seller that are looked at.
const SHARES: [f64; 5] = [0.01, 0.05, 0.1, 0.5, 1.0];

/// A system in three states: as deployed; with parameters for [`scale::ORDERS_PER_SECOND`]; with parameters,
/// consumers and quotas for [`RAISED_TO`].
pub struct Report<'a> {
    region: String,
    deployed: System<'a>,
    set: System<'a>,
    raised: System<'a>,
}

impl<'a> Report<'a> {
    pub fn of(region: &str, deployed: System<'a>) -> Self {
        let set = set(&deployed);
        let raised = plan::raised(&deployed, RAISED_TO);
        Self { region: region.to_owned(), deployed, set, raised }
    }

    /// The lines to show in a terminal. `rate` marks the limits below it.
    pub fn lines(&self, rate: Option<f64>) -> Vec<String> {
        let mut lines = vec![String::new(), self.headline()];
        lines.extend(self.tables(rate).iter().flat_map(Shown::lines));
        lines
    }

    pub fn markdown(&self) -> String {
        let tables: String = self.tables(None).iter().map(Shown::markdown).collect();
        format!("{}\n{tables}", self.headline())
    }

    fn headline(&self) -> String {
        let first = |system: &System<'_>| system.limits().first().map_or(0.0, |limit| limit.bites);
        format!(
            "Orders a second in {} until the first limit bites: **{}** as deployed, **{}** with the parameters of a stage for {}, \
             **{}** with those of a stage for {RAISED_TO} and the quotas of the form.",
            self.region,
            orders(first(&self.deployed)),
            orders(first(&self.set)),
            scale::ORDERS_PER_SECOND,
            orders(first(&self.raised)),
        )
    }

    fn tables(&self, rate: Option<f64>) -> Vec<Shown> {
        vec![
            self.first(),
            self.limits(rate),
            self.order(),
            self.parameters(),
            self.form(),
            self.consumers(),
            self.regions(),
            self.shares(),
            self.ramps(),
        ]
    }

    fn columns(&self) -> [&System<'a>; 3] {
        [&self.deployed, &self.set, &self.raised]
    }

    fn header(first: &str) -> Vec<String> {
        vec![
            first.to_owned(),
            "as deployed".into(),
            format!("parameters for {}", scale::ORDERS_PER_SECOND),
            format!("quotas raised for {RAISED_TO}"),
        ]
    }

    fn first(&self) -> Shown {
        let told = |limit: Option<Limit>| {
            limit.map_or_else(String::new, |limit| format!("{}: {}", orders(limit.bites), limit.name))
        };
        let mut rows = vec![Self::header("of")];
        for (name, looks) in
            [("orders, and what shoppers look at around them", true), ("orders alone", false)]
        {
            let first = self.columns().map(|system| {
                let mut system = system.clone();
                system.load.looks = looks;
                told(system.limits().into_iter().next())
            });
            rows.push(std::iter::once(name.to_owned()).chain(first).collect());
        }
        let asked = |quota| self.raised.quotas.get(quota) > self.set.quotas.get(quota);
        let first = self.columns().map(|system| {
            let mut limits = system.limits().into_iter();
            told(limits.find(|limit| !matches!(limit.raise, Raise::Quota(quota) if asked(quota))))
        });
        rows.push(
            std::iter::once("the first that the form does not raise".to_owned()).chain(first).collect(),
        );
        Shown { title: "The first limit, in orders a second".into(), rows }
    }

    fn limits(&self, rate: Option<f64>) -> Shown {
        let by_name = |system: &System<'_>| {
            system.limits().into_iter().map(|limit| (limit.name, limit.bites)).collect::<BTreeMap<_, _>>()
        };
        let (deployed, raised) = (by_name(&self.deployed), by_name(&self.raised));
        let mut rows = vec![Self::header("limit")];
        rows[0].push("what raises it".into());
        let mut far = 0;
        for Limit { name, bites, raise } in self.set.limits() {
            let of = |all: &BTreeMap<String, f64>| all.get(&name).copied().unwrap_or(f64::INFINITY);
            let all = [of(&deployed), bites, of(&raised)];
            if all.iter().all(|bites| *bites > FAR) {
                far += 1;
                continue;
            }
            let mut row = vec![name];
            row.extend(all.map(|bites| match rate {
                Some(rate) if bites < rate => format!("{} < {rate}", orders(bites)),
                _ => orders(bites),
            }));
            row.push(how(raise));
            rows.push(row);
        }
        rows.push(vec![
            format!("{far} more, each above {FAR}"),
            String::new(),
            String::new(),
            String::new(),
            String::new(),
        ]);
        Shown { title: "Orders a second at which each limit bites".into(), rows }
    }

    fn order(&self) -> Shown {
        let (counts, system) = (self.set.counts, &self.set);
        let (writes, reads) = system.units(EVENT_TABLE);
        let called: f64 = counts.functions.values().map(|function| function.invocations).sum();
        let looks = counts.looks.requests;
        let row = |name: &str, much: String| vec![name.to_owned(), much];
        let rows = vec![
            row("what", "how much".into()),
            row("API requests that change something", counts.requests.to_string()),
            row("API requests that look", looks.to_string()),
            row("invocations, one message in a batch", format!("{:.1}", called + looks)),
            row("seconds of functions, one message in a batch", format!("{:.2}", system.seconds())),
            row("entries of PutEvents", counts.entries.to_string()),
            row("deliveries to queues", format!("{:.1}", counts.deliveries())),
            row("write units of the event table", format!("{writes:.1}")),
            row("read units of the event table", format!("{reads:.1}")),
        ];
        Shown { title: "What an order takes".into(), rows }
    }

    fn parameters(&self) -> Shown {
        let values = |system: &System<'_>| {
            let settings = &system.settings;
            [
                settings.requests_per_second,
                settings.request_burst,
                settings.relay_parallelism,
                settings.warm_writes,
                settings.warm_reads,
            ]
        };
        let names = [
            "RequestsPerSecond",
            "RequestBurst",
            "RelayParallelism",
            "EventTableWarmWrites",
            "EventTableWarmReads",
        ];
        let mut rows = vec![Self::header("parameter")];
        let columns = self.columns().map(values);
        for (place, name) in names.iter().enumerate() {
            let mut row = vec![format!("`{name}`")];
            row.extend(columns.iter().map(|column| column[place].to_string()));
            rows.push(row);
        }
        Shown { title: "Parameters of `cargo mall deploy --aws --parameter NAME=VALUE`".into(), rows }
    }

    fn form(&self) -> Shown {
        let mut rows =
            vec![["service", "quota", "given", "to ask for", "source"].map(str::to_owned).to_vec()];
        for (quota, given, asked) in plan::form(&self.set.quotas, &self.raised.quotas) {
            let listed = quota.listed();
            rows.push(vec![
                listed.service.into(),
                listed.name.into(),
                given.to_string(),
                asked.to_string(),
                listed.source.into(),
            ]);
        }
        Shown { title: format!("The form: quotas to ask for, for {RAISED_TO} orders a second"), rows }
    }

    fn consumers(&self) -> Shown {
        let mut rows = vec![
            [
                "consumer",
                "messages an order",
                "ms for a full batch",
                "batch size",
                "window, s",
                "concurrency",
                "orders a second",
            ]
            .map(str::to_owned)
            .to_vec(),
        ];
        let mut sum = 0;
        for (name, mapping) in &self.set.settings.consumers {
            sum += mapping.concurrency;
            let Some(function) = self.set.counts.functions.get(name) else { continue };
            let full = self.set.assumed.batch(function, mapping.batch);
            let most = f64::from(mapping.concurrency * mapping.batch) / full / function.messages;
            rows.push(vec![
                name.clone(),
                format!("{:.2}", function.messages),
                format!("{:.0}", full * 1000.0),
                mapping.batch.to_string(),
                mapping.window.to_string(),
                mapping.concurrency.to_string(),
                orders(most),
            ]);
        }
        let mut all: Vec<String> = std::iter::repeat_n(String::new(), 7).collect();
        all[0] = "all".into();
        all[5] =
            format!("{sum}, of {} that functions may have", self.set.quotas.get(Quota::LambdaConcurrency));
        rows.push(all);
        Shown { title: format!("The scale table, for {} orders a second", scale::ORDERS_PER_SECOND), rows }
    }

    fn regions(&self) -> Shown {
        let mut rows = vec![
            [
                "region",
                "deliveries a second",
                "orders a second of deliveries",
                "first limit, quotas as given",
            ]
            .map(str::to_owned)
            .to_vec(),
        ];
        for region in REGIONS.iter().copied().chain(["any other"]) {
            let quotas = Quotas::of(region);
            let deliveries = quotas.get(Quota::Deliveries);
            let first = set(&System { quotas, ..self.deployed.clone() }).limits().into_iter().next();
            rows.push(vec![
                region.to_owned(),
                deliveries.to_string(),
                orders(deliveries / self.set.counts.deliveries()),
                first.map_or_else(String::new, |limit| format!("{}: {}", orders(limit.bites), limit.name)),
            ]);
        }
        Shown { title: "By region".into(), rows }
    }

    fn shares(&self) -> Shown {
        let mut rows =
            vec![["share of orders with the best-seller", "orders a second"].map(str::to_owned).to_vec()];
        for share in SHARES {
            let mut system = self.set.clone();
            system.load.hottest = share;
            let limit = system.hottest();
            rows.push(vec![format!("{} %", share * 100.0), orders(limit.bites)]);
        }
        Shown { title: "A best-seller".into(), rows }
    }

    fn ramps(&self) -> Shown {
        let mut rows =
            vec![["table or index", "orders a second that it takes at once"].map(str::to_owned).to_vec()];
        let ramps = self.set.ramps(RAISED_TO);
        rows.extend(ramps.into_iter().map(|(name, bites)| vec![name, orders(bites)]));
        let title = format!(
            "Views that fall behind for half an hour, in a jump from nothing to {RAISED_TO} orders a second (the \
             {EVENT_TABLE} can be warmed)"
        );
        Shown { title, rows }
    }
}

/// A system with the parameters of a stage for [`scale::ORDERS_PER_SECOND`].
fn set<'a>(system: &System<'a>) -> System<'a> {
    System { settings: plan::parameters(system, scale::ORDERS_PER_SECOND), ..system.clone() }
}

fn how(raise: Raise) -> String {
    match raise {
        Raise::Quota(quota) => {
            let listed = quota.listed();
            format!("quota: {}, {}", listed.service, listed.name)
        }
        Raise::Parameter(name) => format!("parameter `{name}`"),
        Raise::Scale => "the scale table".into(),
        Raise::Design(what) => format!("design: {what}"),
    }
}

fn orders(rate: f64) -> String {
    if rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}
