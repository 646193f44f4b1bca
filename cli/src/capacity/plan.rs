//! The parameters and quotas that a stage for a given rate needs.

use super::{
    model::{Raise, System},
    quotas::{API_BURST, FRESH_READS, FRESH_WRITES, Quota, Quotas},
    scale,
    settings::Settings,
};
use crate::cost::EVENT_TABLE;

/// Room above the rate, for bursts and for what the model does not know.
const ROOM: f64 = 1.25;
/// The most that AWS takes (`ParallelizationFactor`).
const RELAY_PARALLELISM: f64 = 10.0;
/// Quotas depend on each other by the parameters they bound: after so many rounds none does any more.
const ROUNDS: u32 = 20;

/// Sets the template's parameters for a rate, as far as the account's quotas allow.
pub fn parameters(system: &System<'_>, orders: f64) -> Settings {
    let within = |wanted: f64, quota: Quota| round_up(wanted * orders * ROOM).min(system.quotas.get(quota));
    let (writes, reads) = system.units(EVENT_TABLE);
    Settings {
        requests_per_second: within(system.requests(), Quota::ApiRequests),
        request_burst: API_BURST,
        relay_parallelism: RELAY_PARALLELISM,
        warm_writes: within(writes, Quota::TableWrites).max(FRESH_WRITES),
        warm_reads: within(reads, Quota::TableReads).max(FRESH_READS),
        ..system.settings.clone()
    }
}

/// Sets parameters, consumers and quotas for a rate.
pub fn raised<'a>(system: &System<'a>, orders: f64) -> System<'a> {
    let mut raised = system.clone();
    for (name, mapping) in scale::mappings(system.counts, &system.settings.consumers, orders) {
        raised.settings.consumers.insert(name, mapping);
    }
    for _ in 0..ROUNDS {
        raised.settings = parameters(&raised, orders);
        let short: Vec<_> = raised
            .limits()
            .into_iter()
            .filter(|limit| limit.bites < orders)
            .filter_map(|limit| match limit.raise {
                Raise::Quota(quota) => Some((quota, limit.bites)),
                Raise::Parameter(_) | Raise::Scale | Raise::Design(_) => None,
            })
            .collect();
        if short.is_empty() {
            break;
        }
        for (quota, bites) in short {
            let needed = match quota {
                Quota::LambdaConcurrency => raised.lambda_for(orders * ROOM),
                // All others are proportions.
                _ => raised.quotas.get(quota) * orders * ROOM / bites,
            };
            raised.quotas.raise(quota, round_up(needed));
        }
    }
    raised
}

/// Lists the quotas that are to be asked for: with what is given and what is needed.
pub fn form(given: &Quotas, raised: &Quotas) -> Vec<(Quota, f64, f64)> {
    let all = super::quotas::QUOTAS.iter().map(|listed| listed.quota);
    all.map(|quota| (quota, given.get(quota), raised.get(quota))).filter(|(_, old, new)| new > old).collect()
}

/// Rounds up to two digits.
fn round_up(number: f64) -> f64 {
    if number <= 0.0 {
        return 0.0;
    }
    let digit = 10_f64.powf(number.log10().floor() - 1.0);
    (number / digit).ceil() * digit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_asks_for_round_numbers_and_never_for_too_little() {
        assert_eq!([8_544.0, 39_999.0, 40_000.0, 101.0].map(round_up), [8_600.0, 40_000.0, 40_000.0, 110.0]);
    }
}
