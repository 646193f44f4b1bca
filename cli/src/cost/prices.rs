//! What a unit costs, and where that stands: the only place with a price. The source of each is its service's page below
//! <https://aws.amazon.com/pricing/>, read on [`AS_OF`] for [`REGION`].

/// Where the mall would run.
pub const REGION: &str = "us-east-1";
/// When the prices were read. On-demand list prices without free tiers and discounts; arm64.
pub const AS_OF: &str = "2026-11-20";

/// Something that AWS counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    HttpRequest,
    Invocation,
    LambdaGbSecond,
    Write,
    Read,
    BusEvent,
    QueueRequest,
    ObjectRead,
    ObjectWrite,
    Transition,
    ExpressRequest,
    ExpressGbSecond,
    LoggedGb,
    StoredGbMonth,
    BackedUpGbMonth,
    KeptLogGbMonth,
    AlarmMonth,
    MetricMonth,
    DashboardMonth,
}

/// A price.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Price {
    pub unit: Unit,
    pub service: &'static str,
    /// As it is called in a table.
    pub name: &'static str,
    /// What is counted as one.
    pub rule: &'static str,
    /// Dollars for one.
    pub dollars: f64,
    /// As the price list has it.
    pub listed: &'static str,
}

/// All of them, in the order of [`Unit`].
#[rustfmt::skip]
pub const PRICES: &[Price] = &[
    Price { unit: Unit::HttpRequest, service: "API Gateway", name: "HTTP API requests", rule: "512 KB each", dollars: 1.00e-6, listed: "$1.00 per million" },
    Price { unit: Unit::Invocation, service: "Lambda", name: "requests", rule: "one for each batch", dollars: 0.20e-6, listed: "$0.20 per million" },
    Price { unit: Unit::LambdaGbSecond, service: "Lambda", name: "GB-s", rule: "whole milliseconds, configured memory", dollars: 0.000_013_333_4, listed: "$0.0000133334 (arm64)" },
    Price { unit: Unit::Write, service: "DynamoDB", name: "write units", rule: "1 KB; each index; refused writes too", dollars: 0.625e-6, listed: "$0.625 per million" },
    Price { unit: Unit::Read, service: "DynamoDB", name: "read units", rule: "4 KB looked at; half if eventually consistent", dollars: 0.125e-6, listed: "$0.125 per million" },
    Price { unit: Unit::BusEvent, service: "EventBridge", name: "custom events", rule: "64 KB each; deliveries and events of AWS itself are free", dollars: 1.00e-6, listed: "$1.00 per million" },
    Price { unit: Unit::QueueRequest, service: "SQS", name: "requests", rule: "64 KB each; sends by rules, receives and deletes by Lambda's poller", dollars: 0.40e-6, listed: "$0.40 per million" },
    Price { unit: Unit::ObjectRead, service: "S3", name: "reads", rule: "each GET, also one that is answered \"not modified\"", dollars: 0.40e-6, listed: "$0.0004 per thousand" },
    Price { unit: Unit::ObjectWrite, service: "S3", name: "writes", rule: "each PUT and LIST; deletes are free", dollars: 5.00e-6, listed: "$0.005 per thousand" },
    Price { unit: Unit::Transition, service: "Step Functions", name: "Standard transitions", rule: "states entered, retries, and one for the start", dollars: 25e-6, listed: "$0.025 per thousand" },
    Price { unit: Unit::ExpressRequest, service: "Step Functions", name: "Express requests", rule: "one for each start", dollars: 1.00e-6, listed: "$1.00 per million" },
    Price { unit: Unit::ExpressGbSecond, service: "Step Functions", name: "Express GB-s", rule: "64 MB and 100 ms steps", dollars: 0.000_016_67, listed: "$0.00001667" },
    Price { unit: Unit::LoggedGb, service: "CloudWatch", name: "log GB taken in", rule: "lines and 26 bytes each", dollars: 0.50, listed: "$0.50 per GB" },
    Price { unit: Unit::StoredGbMonth, service: "DynamoDB", name: "GB stored", rule: "items and 100 bytes each, indexes too", dollars: 0.25, listed: "$0.25 per GB-month" },
    Price { unit: Unit::BackedUpGbMonth, service: "DynamoDB", name: "GB with point-in-time recovery", rule: "the event table", dollars: 0.20, listed: "$0.20 per GB-month" },
    Price { unit: Unit::KeptLogGbMonth, service: "CloudWatch", name: "log GB kept", rule: "as taken in, for the retention (AWS compresses them)", dollars: 0.03, listed: "$0.03 per GB-month" },
    Price { unit: Unit::AlarmMonth, service: "CloudWatch", name: "alarms", rule: "standard resolution, one metric", dollars: 0.10, listed: "$0.10 per month" },
    Price { unit: Unit::MetricMonth, service: "CloudWatch", name: "metrics of our own", rule: "a name with its dimensions", dollars: 0.30, listed: "$0.30 per month" },
    Price { unit: Unit::DashboardMonth, service: "CloudWatch", name: "dashboards", rule: "", dollars: 3.00, listed: "$3.00 per month" },
];

impl Unit {
    /// What it costs. Every unit has a price at its place: a test holds it.
    pub fn price(self) -> &'static Price {
        &PRICES[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_unit_is_billed_at_the_price_of_another() {
        use Unit::*;
        for unit in [
            HttpRequest,
            Invocation,
            LambdaGbSecond,
            Write,
            Read,
            BusEvent,
            QueueRequest,
            ObjectRead,
            ObjectWrite,
            Transition,
            ExpressRequest,
            ExpressGbSecond,
            LoggedGb,
            StoredGbMonth,
            BackedUpGbMonth,
            KeptLogGbMonth,
            AlarmMonth,
            MetricMonth,
            DashboardMonth,
        ] {
            assert_eq!(unit.price().unit, unit);
            assert_eq!(PRICES.iter().filter(|price| price.unit == unit).count(), 1, "{unit:?}");
        }
    }
}
