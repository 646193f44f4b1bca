//! Exact money: integer minor units with a currency inside; a decimal number with two places
//! outside. No arithmetic ever touches a binary float.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A currency, by its ISO 4217 code. All currencies used here have two decimal places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub enum Currency {
    /// US dollar: the mall's own currency. The HTTP API has no currency field, as the original
    /// API had none, so this is what its numbers mean.
    #[serde(rename = "USD")]
    Usd,
    /// Euro.
    #[serde(rename = "EUR")]
    Eur,
}

impl Currency {
    /// What amounts at the HTTP API are in.
    pub const MALL: Currency = Currency::Usd;

    /// ISO 4217 code.
    pub const fn code(self) -> &'static str {
        match self {
            Currency::Usd => "USD",
            Currency::Eur => "EUR",
        }
    }
}

/// An exact amount. It may be negative; rules that forbid that belong to the aggregates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Money {
    /// In minor units: cents.
    minor: i64,
    currency: Currency,
}

/// Why an amount could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not a decimal number with at most two places.
    #[error("{0} is not an amount: give a number with at most two decimal places")]
    NotAnAmount(String),
    /// Further from zero than [`Money::MAX_MINOR`].
    #[error("the amount is too large: at most 9999999999.99")]
    TooLarge,
    /// Two currencies met.
    #[error("cannot combine {0} with {1}", .left.code(), .right.code())]
    CurrencyMismatch {
        /// Of the left amount.
        left: Currency,
        /// Of the right amount.
        right: Currency,
    },
}

impl Money {
    /// Largest distance from zero, in minor units: 9,999,999,999.99. Twelve digits, well inside the
    /// fifteen that every JSON reader keeps exactly (IEEE 754 doubles).
    pub const MAX_MINOR: i64 = 999_999_999_999;

    /// An amount in the mall's currency, in minor units (cents).
    ///
    /// # Errors
    /// [`MoneyError::TooLarge`].
    pub const fn from_minor(minor: i64) -> Result<Self, MoneyError> {
        Self::in_currency(minor, Currency::MALL)
    }

    /// An amount in minor units of a currency.
    ///
    /// # Errors
    /// [`MoneyError::TooLarge`].
    pub const fn in_currency(minor: i64, currency: Currency) -> Result<Self, MoneyError> {
        if minor > Self::MAX_MINOR || minor < -Self::MAX_MINOR {
            return Err(MoneyError::TooLarge);
        }
        Ok(Self { minor, currency })
    }

    /// Nothing, in the mall's currency.
    pub const ZERO: Money = Money { minor: 0, currency: Currency::MALL };

    /// Reads a decimal such as `9.99`, `10` or `-0.5`, exactly.
    ///
    /// # Errors
    /// [`MoneyError::NotAnAmount`] or [`MoneyError::TooLarge`].
    pub fn parse(text: &str) -> Result<Self, MoneyError> {
        let bad = || MoneyError::NotAnAmount(text.chars().take(40).collect());
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let plain = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        let fraction = match fraction.trim_end_matches('0') {
            "" if plain(fraction) => "0",
            trimmed => trimmed,
        };
        if !plain(whole) || !plain(fraction) || fraction.len() > 2 {
            return Err(bad());
        }
        let whole: i64 = whole.parse().map_err(|_| MoneyError::TooLarge)?;
        let cents: i64 = format!("{fraction:0<2}").parse().map_err(|_| bad())?;
        let minor = whole.checked_mul(100).and_then(|m| m.checked_add(cents)).ok_or(MoneyError::TooLarge)?;
        Self::from_minor(if negative { -minor } else { minor })
    }

    /// Minor units (cents).
    pub const fn minor(self) -> i64 {
        self.minor
    }

    /// The currency.
    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// Below zero?
    pub const fn is_negative(self) -> bool {
        self.minor < 0
    }

    /// The sum.
    ///
    /// # Errors
    /// [`MoneyError::CurrencyMismatch`] or [`MoneyError::TooLarge`].
    pub fn plus(self, other: Money) -> Result<Money, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::CurrencyMismatch { left: self.currency, right: other.currency });
        }
        let minor = self.minor.checked_add(other.minor).ok_or(MoneyError::TooLarge)?;
        Self::in_currency(minor, self.currency)
    }

    /// `quantity` times this.
    ///
    /// # Errors
    /// [`MoneyError::TooLarge`].
    pub fn times(self, quantity: u32) -> Result<Money, MoneyError> {
        let minor = self.minor.checked_mul(i64::from(quantity)).ok_or(MoneyError::TooLarge)?;
        Self::in_currency(minor, self.currency)
    }

    /// Whether this covers `other`: same currency and at least as much.
    pub fn covers(self, other: Money) -> bool {
        self.currency == other.currency && self.minor >= other.minor
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.minor < 0 { "-" } else { "" };
        let minor = self.minor.unsigned_abs();
        write!(f, "{sign}{}.{:02} {}", minor / 100, minor % 100, self.currency.code())
    }
}

/// Amounts as the HTTP API writes them: a JSON number in the mall's currency. Use as
/// `#[serde(with = "kernel::money::decimal")]`.
///
/// A JSON number is text; `serde_json` hands it over as the nearest double, whose shortest
/// round-trip form is that text again for up to fifteen digits. So the text is recovered exactly,
/// and read as a decimal.
pub mod decimal {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
    use serde_json::Number;

    use super::Money;

    /// Writes a JSON number: `9.99`.
    ///
    /// # Errors
    /// The serialiser's own.
    pub fn serialize<S: Serializer>(money: &Money, serializer: S) -> Result<S::Ok, S::Error> {
        let text = format!(
            "{}{}.{:02}",
            if money.minor < 0 { "-" } else { "" },
            money.minor.abs() / 100,
            money.minor.abs() % 100
        );
        text.parse::<Number>().map_err(ser::Error::custom)?.serialize(serializer)
    }

    /// Reads a JSON number with at most two decimal places.
    ///
    /// # Errors
    /// When it is not such a number.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Money, D::Error> {
        let number = Number::deserialize(deserializer)?;
        Money::parse(&number.to_string()).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Priced(#[serde(with = "decimal")] Money);

    fn cents(minor: i64) -> Money {
        Money::from_minor(minor).unwrap()
    }

    #[test]
    fn d21_every_cent_survives_the_way_out_and_back() {
        for minor in (0..200_000).chain(Money::MAX_MINOR - 20_000..=Money::MAX_MINOR) {
            for minor in [minor, -minor] {
                let json = serde_json::to_string(&Priced(cents(minor))).unwrap();
                assert_eq!(serde_json::from_str::<Priced>(&json).unwrap().0.minor(), minor, "{json}");
            }
        }
    }

    #[test]
    fn d21_a_fraction_of_a_cent_is_refused_not_rounded() {
        for bad in ["9.999", "0.001", "1e400", "\"9.99\"", "null"] {
            assert!(serde_json::from_str::<Priced>(bad).is_err(), "{bad} passed");
        }
        for (text, minor) in
            [("9.99", 999), ("10", 1000), ("-0.5", -50), ("9.990", 999), ("0.1", 10), ("1e1", 1000)]
        {
            assert_eq!(serde_json::from_str::<Priced>(text).unwrap().0.minor(), minor, "{text}");
        }
        assert!(Money::parse("").is_err());
        assert!(Money::parse(".5").is_err());
        assert!(Money::parse("5.").is_err());
        assert!(Money::parse("--5").is_err());
    }

    #[test]
    fn sums_that_overflow_are_refused_not_wrapped() {
        assert_eq!(cents(Money::MAX_MINOR).plus(cents(1)), Err(MoneyError::TooLarge));
        assert_eq!(cents(Money::MAX_MINOR).times(u32::MAX), Err(MoneyError::TooLarge));
        assert!(Money::parse("99999999999999999999").is_err());
    }

    #[test]
    fn currencies_do_not_mix() {
        let euro = Money::in_currency(100, Currency::Eur).unwrap();
        assert!(euro.plus(cents(100)).is_err());
        assert!(!euro.covers(cents(1)));
    }
}
