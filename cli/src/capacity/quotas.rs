//! The default quotas of AWS by region: the only place with one. Each has its source.
//!
//! These are defaults of accounts with a history. A new account starts lower: `aws lambda
//! get-account-settings` and the Service Quotas console say what an account really has.

use std::collections::BTreeMap;

/// A quota of AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quota {
    ApiRequests,
    LambdaConcurrency,
    PutEvents,
    Deliveries,
    StandardStarts,
    ExpressStarts,
    Transitions,
    TaskCallbacks,
    OpenExecutions,
    TableWrites,
    TableReads,
}

/// A quota with its defaults.
#[derive(Debug, Clone, Copy)]
pub struct Listed {
    pub quota: Quota,
    pub service: &'static str,
    /// As the Service Quotas console or the service's page calls it.
    pub name: &'static str,
    pub source: &'static str,
    /// Regions with a value of their own.
    regions: &'static [(&'static str, f64)],
    elsewhere: f64,
}

const API: &str = "https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html";
const LAMBDA: &str = "https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html";
const EVENTS: &str = "https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html";
const STATES: &str = "https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html";
const DYNAMODB: &str = "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html";

/// Every quota, in the order of [`Quota`]. Read on 2026-11-30.
#[rustfmt::skip]
pub const QUOTAS: &[Listed] = &[
    Listed { quota: Quota::ApiRequests, service: "API Gateway", name: "Throttle rate", source: API, elsewhere: 10_000.0,
        regions: &[("af-south-1", 2_500.0), ("eu-south-1", 2_500.0), ("ap-southeast-3", 2_500.0), ("me-central-1", 2_500.0), ("ap-south-2", 2_500.0), ("ap-southeast-4", 2_500.0),
                   ("eu-south-2", 2_500.0), ("eu-central-2", 2_500.0), ("il-central-1", 2_500.0), ("ca-west-1", 2_500.0), ("ap-southeast-5", 2_500.0), ("ap-southeast-7", 2_500.0), ("mx-central-1", 2_500.0)] },
    Listed { quota: Quota::LambdaConcurrency, service: "Lambda", name: "Concurrent executions", source: LAMBDA, elsewhere: 1_000.0, regions: &[] },
    Listed { quota: Quota::PutEvents, service: "EventBridge", name: "PutEvents throttle limit in transactions per second", source: EVENTS, elsewhere: 600.0,
        regions: &[("us-east-1", 10_000.0), ("us-west-2", 10_000.0), ("eu-west-1", 10_000.0), ("us-east-2", 2_400.0), ("eu-central-1", 2_400.0),
                   ("us-west-1", 1_200.0), ("ap-northeast-1", 1_200.0), ("ap-southeast-1", 1_200.0), ("ap-southeast-2", 1_200.0), ("eu-west-2", 1_200.0),
                   ("af-south-1", 400.0), ("eu-south-1", 400.0), ("ap-northeast-3", 400.0), ("ap-southeast-3", 400.0)] },
    Listed { quota: Quota::Deliveries, service: "EventBridge", name: "Invocations throttle limit in transactions per second", source: EVENTS, elsewhere: 1_100.0,
        regions: &[("us-east-1", 18_750.0), ("us-west-2", 18_750.0), ("eu-west-1", 18_750.0), ("us-east-2", 4_500.0), ("eu-central-1", 4_500.0),
                   ("us-west-1", 2_250.0), ("ap-northeast-1", 2_250.0), ("ap-southeast-1", 2_250.0), ("ap-southeast-2", 2_250.0), ("eu-west-2", 2_250.0),
                   ("af-south-1", 750.0), ("eu-south-1", 750.0), ("ap-northeast-3", 750.0), ("ap-southeast-3", 750.0)] },
    Listed { quota: Quota::StandardStarts, service: "Step Functions", name: "StartExecution refill rate, Standard", source: STATES, elsewhere: 150.0,
        regions: &[("us-east-1", 300.0), ("us-west-2", 300.0), ("eu-west-1", 300.0)] },
    Listed { quota: Quota::ExpressStarts, service: "Step Functions", name: "StartExecution refill rate, Express", source: STATES, elsewhere: 6_000.0, regions: &[] },
    Listed { quota: Quota::Transitions, service: "Step Functions", name: "StateTransition refill rate, Standard", source: STATES, elsewhere: 800.0,
        regions: &[("us-east-1", 5_000.0), ("us-west-2", 5_000.0), ("eu-west-1", 5_000.0)] },
    Listed { quota: Quota::TaskCallbacks, service: "Step Functions", name: "SendTaskSuccess refill rate", source: STATES, elsewhere: 300.0,
        regions: &[("us-east-1", 500.0), ("us-west-2", 500.0), ("eu-west-1", 500.0)] },
    Listed { quota: Quota::OpenExecutions, service: "Step Functions", name: "Open executions", source: STATES, elsewhere: 1_000_000.0, regions: &[] },
    Listed { quota: Quota::TableWrites, service: "DynamoDB", name: "Table-level write throughput limit", source: DYNAMODB, elsewhere: 40_000.0, regions: &[] },
    Listed { quota: Quota::TableReads, service: "DynamoDB", name: "Table-level read throughput limit", source: DYNAMODB, elsewhere: 40_000.0, regions: &[] },
];

/// Regions with deliveries of their own, which are compared. All others have the same.
pub const REGIONS: &[&str] = &[
    "us-east-1",
    "us-west-2",
    "eu-west-1",
    "us-east-2",
    "eu-central-1",
    "us-west-1",
    "ap-northeast-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "eu-west-2",
    "af-south-1",
    "eu-south-1",
    "ap-northeast-3",
    "ap-southeast-3",
];

/// The burst of an account's API requests, which AWS sets (the page of [`Quota::ApiRequests`]).
pub const API_BURST: f64 = 5_000.0;
/// Requests a second that an account's functions take for each unit of its concurrency (Developer Guide,
/// "Understanding Lambda function scaling").
pub const INVOCATIONS_FOR_CONCURRENCY: f64 = 10.0;
/// A partition of a table or an index, and so a partition key ("Partitions and data distribution").
pub const PARTITION_WRITES: f64 = 1_000.0;
/// The throughput that a new on-demand table or index takes at once ("Understanding DynamoDB warm
/// throughput").
pub const FRESH_WRITES: f64 = 4_000.0;
pub const FRESH_READS: f64 = 12_000.0;
/// Entries of a PutEvents call.
pub const PUT_EVENTS_ENTRIES: f64 = 10.0;
/// The least `MaximumConcurrency` that Lambda takes.
pub const LEAST_CONCURRENCY: u32 = 2;

/// The quotas of an account.
#[derive(Debug, Clone, PartialEq)]
pub struct Quotas(BTreeMap<Quota, f64>);

impl Quotas {
    /// Looks up the defaults of a region.
    pub fn of(region: &str) -> Self {
        Self(QUOTAS.iter().map(|listed| (listed.quota, listed.given(region))).collect())
    }

    pub fn get(&self, quota: Quota) -> f64 {
        // Made for every quota, by `of`.
        self.0.get(&quota).copied().unwrap_or_default()
    }

    pub fn raise(&mut self, quota: Quota, value: f64) {
        self.0.insert(quota, value);
    }
}

impl Listed {
    /// Looks up the default of a region.
    pub fn given(&self, region: &str) -> f64 {
        let own = self.regions.iter().find(|(name, _)| *name == region);
        own.map_or(self.elsewhere, |(_, value)| *value)
    }
}

impl Quota {
    /// Looks up its name and source.
    pub fn listed(self) -> &'static Listed {
        &QUOTAS[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_quota_has_the_value_of_another_or_no_source() {
        for (place, listed) in QUOTAS.iter().enumerate() {
            assert_eq!(listed.quota as usize, place, "{}", listed.name);
            assert_eq!(listed.quota.listed().name, listed.name);
            assert!(listed.source.starts_with("https://docs.aws.amazon.com/"), "{}", listed.name);
        }
    }

    #[test]
    fn no_region_with_deliveries_of_its_own_is_left_out_of_the_comparison() {
        let own: Vec<_> = Quota::Deliveries.listed().regions.iter().map(|(region, _)| *region).collect();
        assert!(REGIONS.len() == own.len() && own.iter().all(|region| REGIONS.contains(region)), "{own:?}");
    }

    #[test]
    fn a_region_that_is_not_listed_has_the_quotas_of_most() {
        assert_eq!(Quota::Deliveries.listed().given("us-east-1"), 18_750.0);
        assert_eq!(Quota::Deliveries.listed().given("eu-north-1"), 1_100.0);
        assert_eq!(Quotas::of("eu-north-1").get(Quota::StandardStarts), 150.0);
    }
}
