//! What a client does next, from a seed: no HTTP, no clock, nothing but numbers.
//!
//! A plan is made before anything is known of the mall, so that the same seed gives the same plans whatever the mall
//! answers. Where a plan needs something of the mall ("some store", "some product on its shelf") it holds a [`Pick`], which
//! is resolved when the shelf has been seen.

use std::ops::RangeInclusive;

use fastrand::Rng;
use kernel::Money;

/// Prices of products, in cents.
const PRICES: RangeInclusive<i64> = 500..=1200;
/// Pieces that a shopper takes of a product.
const QUANTITIES: RangeInclusive<u32> = 1..=4;
/// Pieces of a product that a store orders, where it counts them.
const STOCK: RangeInclusive<u32> = 20..=200;

const FIRST: &[&str] =
    &["Ada", "Alan", "Barbara", "Donald", "Edsger", "Frances", "Grace", "Katherine", "Leslie", "Radia"];
const LAST: &[&str] = &["Allen", "Hopper", "Johnson", "Knuth", "Lamport", "Liskov", "Lovelace", "Perlman"];
const STYLE: &[&str] = &["Bright", "Corner", "Golden", "Green", "Little", "Old", "Quiet", "Swift"];
const TRADE: &[&str] = &["Bakery", "Books", "Cheese", "Flowers", "Grocer", "Lamps", "Shoes", "Tea", "Toys"];
const KIND: &[&str] = &["Fresh", "Large", "Light", "Round", "Small", "Soft", "Strong", "Sweet"];
const THING: &[&str] = &["box", "brush", "cake", "cup", "lamp", "novel", "pear", "rose", "sock", "teapot"];

/// What clients do, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Behaviour {
    Browse,
    Buy,
    Register,
    OpenStore,
    AddProducts,
    RebrandStore,
    RebrandProduct,
    ChangePrice,
}

impl Behaviour {
    /// Each with its share of a hundred.
    const WEIGHTS: [(Self, u32); 8] = [
        (Self::Browse, 28),
        (Self::Buy, 45),
        (Self::Register, 5),
        (Self::OpenStore, 4),
        (Self::AddProducts, 5),
        (Self::RebrandStore, 3),
        (Self::RebrandProduct, 4),
        (Self::ChangePrice, 6),
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Browse => "browse",
            Self::Buy => "buy",
            Self::Register => "register an account",
            Self::OpenStore => "set up a store",
            Self::AddProducts => "add products",
            Self::RebrandStore => "rebrand a store",
            Self::RebrandProduct => "rebrand a product",
            Self::ChangePrice => "change a price",
        }
    }
}

/// One of however many there turn out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pick(u32);

impl Pick {
    /// The one of `these` that is meant; none when there are none.
    pub fn of<T>(self, these: &[T]) -> Option<&T> {
        let count = u32::try_from(these.len()).unwrap_or(u32::MAX);
        these.get(self.0.checked_rem(count)? as usize)
    }
}

/// A visit to a store: what is taken from its shelf.
#[derive(Debug, Clone, PartialEq)]
pub struct Visit {
    pub store: Pick,
    /// Products with pieces.
    pub takes: Vec<(Pick, u32)>,
}

/// A product to be.
#[derive(Debug, Clone, PartialEq)]
pub struct NewProduct {
    pub name: String,
    pub description: String,
    pub sku: String,
    pub price: Money,
    /// Pieces that come in; none when its stock is not counted.
    pub stock: Option<u32>,
}

/// What to do, down to the last detail that does not depend on the mall.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    Browse {
        visits: Vec<Visit>,
    },
    Buy {
        visits: Vec<Visit>,
        /// A piece of this is taken out again.
        second_thoughts: Option<Pick>,
        /// Pays too little.
        short: bool,
    },
    Register {
        name: String,
        sms_number: String,
    },
    OpenStore {
        name: String,
        location: String,
        products: Vec<NewProduct>,
    },
    AddProducts {
        store: Pick,
        products: Vec<NewProduct>,
    },
    RebrandStore {
        store: Pick,
        name: String,
    },
    RebrandProduct {
        store: Pick,
        product: Pick,
        name: String,
        description: String,
    },
    ChangePrice {
        store: Pick,
        product: Pick,
        price: Money,
    },
}

impl Plan {
    pub fn behaviour(&self) -> Behaviour {
        match self {
            Self::Browse { .. } => Behaviour::Browse,
            Self::Buy { .. } => Behaviour::Buy,
            Self::Register { .. } => Behaviour::Register,
            Self::OpenStore { .. } => Behaviour::OpenStore,
            Self::AddProducts { .. } => Behaviour::AddProducts,
            Self::RebrandStore { .. } => Behaviour::RebrandStore,
            Self::RebrandProduct { .. } => Behaviour::RebrandProduct,
            Self::ChangePrice { .. } => Behaviour::ChangePrice,
        }
    }

    /// The same, without the buying: what is left when enough was bought.
    pub fn only_looking(self) -> Self {
        match self {
            Self::Buy { visits, .. } => Self::Browse { visits },
            plan => plan,
        }
    }
}

/// Decides for one client.
#[derive(Debug, Clone)]
pub struct Mind {
    rng: Rng,
    /// Of a hundred shoppers, so many pay too little.
    refused: u8,
}

impl Mind {
    /// Minds that think differently, all from one seed. The first ones are the same however many there are.
    pub fn many(seed: u64, count: usize, refused: u8) -> Vec<Self> {
        let mut root = Rng::with_seed(seed);
        (0..count).map(|_| Self { rng: root.fork(), refused }).collect()
    }

    /// What to do next.
    pub fn next(&mut self) -> Plan {
        match self.behaviour() {
            Behaviour::Browse => Plan::Browse { visits: self.visits() },
            Behaviour::Buy => Plan::Buy {
                visits: self.visits(),
                second_thoughts: (self.rng.u8(0..100) < 15).then(|| self.pick()),
                short: self.rng.u8(0..100) < self.refused,
            },
            Behaviour::Register => self.account(),
            Behaviour::OpenStore => self.store(),
            Behaviour::AddProducts => {
                Plan::AddProducts { store: self.pick(), products: self.products(1..=3) }
            }
            Behaviour::RebrandStore => Plan::RebrandStore { store: self.pick(), name: self.store_name() },
            Behaviour::RebrandProduct => Plan::RebrandProduct {
                store: self.pick(),
                product: self.pick(),
                name: self.product_name(),
                description: "under a new name".into(),
            },
            Behaviour::ChangePrice => {
                Plan::ChangePrice { store: self.pick(), product: self.pick(), price: self.price() }
            }
        }
    }

    /// An account to register.
    pub fn account(&mut self) -> Plan {
        let name = format!("{} {}", self.word(FIRST), self.word(LAST));
        Plan::Register { name, sms_number: format!("+1 555 {:04}", self.rng.u16(0..10_000)) }
    }

    /// A store to set up.
    pub fn store(&mut self) -> Plan {
        let (level, number) = (self.rng.u8(0..4), self.rng.u8(1..60));
        Plan::OpenStore {
            name: self.store_name(),
            location: format!("Level {level}, {number}"),
            products: self.products(2..=5),
        }
    }

    /// How long to stand around, in milliseconds.
    pub fn pause(&mut self, range: &RangeInclusive<u64>) -> u64 {
        self.rng.u64(range.clone())
    }

    fn behaviour(&mut self) -> Behaviour {
        let total = Behaviour::WEIGHTS.iter().map(|(_, weight)| weight).sum();
        let mut drawn = self.rng.u32(0..total);
        for (behaviour, weight) in Behaviour::WEIGHTS {
            match drawn.checked_sub(weight) {
                Some(rest) => drawn = rest,
                None => return behaviour,
            }
        }
        Behaviour::Browse
    }

    fn visits(&mut self) -> Vec<Visit> {
        (0..self.rng.u8(1..=3))
            .map(|_| Visit {
                store: self.pick(),
                takes: (0..self.rng.u8(1..=3)).map(|_| (self.pick(), self.rng.u32(QUANTITIES))).collect(),
            })
            .collect()
    }

    fn products(&mut self, count: RangeInclusive<u8>) -> Vec<NewProduct> {
        (0..self.rng.u8(count))
            .map(|_| NewProduct {
                name: self.product_name(),
                description: "as good as it looks".into(),
                sku: format!("SKU-{:06}", self.rng.u32(0..1_000_000)),
                price: self.price(),
                stock: self.rng.bool().then(|| self.rng.u32(STOCK)),
            })
            .collect()
    }

    fn pick(&mut self) -> Pick {
        Pick(self.rng.u32(..))
    }

    fn price(&mut self) -> Money {
        // Always possible: the range is far inside of what an amount can be.
        Money::from_minor(self.rng.i64(PRICES)).unwrap_or(Money::ZERO)
    }

    fn store_name(&mut self) -> String {
        format!("{} {} {}", self.word(STYLE), self.word(TRADE), self.rng.u16(1..1000))
    }

    fn product_name(&mut self) -> String {
        format!("{} {}", self.word(KIND), self.word(THING))
    }

    fn word(&mut self, words: &[&'static str]) -> &'static str {
        self.pick().of(words).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn plans(seed: u64, refused: u8, count: usize) -> Vec<Plan> {
        let mut mind = Mind::many(seed, 1, refused).remove(0);
        (0..count).map(|_| mind.next()).collect()
    }

    #[test]
    fn a_seed_can_be_run_again() {
        assert_eq!(plans(7, 10, 500), plans(7, 10, 500));
        assert_ne!(plans(7, 10, 500), plans(8, 10, 500));
    }

    #[test]
    fn one_more_client_does_not_change_what_the_others_do() {
        let (mut few, mut many) = (Mind::many(3, 2, 0), Mind::many(3, 9, 0));
        assert_eq!(few[1].next(), many[1].next());
        assert_ne!(many[1].clone().next(), many[2].clone().next());
    }

    #[test]
    fn everything_is_done_about_as_often_as_it_should_be() {
        let mut counts: BTreeMap<Behaviour, u32> = BTreeMap::new();
        for plan in plans(1, 10, 20_000) {
            *counts.entry(plan.behaviour()).or_default() += 1;
        }
        assert_eq!(Behaviour::WEIGHTS.iter().map(|(_, weight)| weight).sum::<u32>(), 100);
        for (behaviour, weight) in Behaviour::WEIGHTS {
            let (found, wanted) = (counts[&behaviour], weight * 200);
            assert!(found.abs_diff(wanted) < wanted / 5, "{behaviour:?}: {found} of {wanted}");
        }
    }

    #[test]
    fn a_share_of_the_shoppers_pays_too_little() {
        let shorts = |refused| {
            let plans = plans(5, refused, 10_000);
            let buys: Vec<bool> = plans
                .iter()
                .filter_map(|plan| match plan {
                    Plan::Buy { short, .. } => Some(*short),
                    _ => None,
                })
                .collect();
            (buys.iter().filter(|short| **short).count() * 100) / buys.len()
        };
        assert_eq!((shorts(0), shorts(100)), (0, 100));
        assert!((22..=28).contains(&shorts(25)), "{}", shorts(25));
    }

    #[test]
    fn plans_stay_within_what_was_agreed() {
        let sold = |products: &[NewProduct]| {
            products.iter().all(|p| {
                PRICES.contains(&p.price.minor())
                    && p.stock.is_none_or(|stock| STOCK.contains(&stock))
                    && !p.name.is_empty()
            })
        };
        for plan in plans(11, 10, 5_000) {
            match &plan {
                Plan::Browse { visits } | Plan::Buy { visits, .. } => {
                    assert!((1..=3).contains(&visits.len()));
                    for visit in visits {
                        assert!((1..=3).contains(&visit.takes.len()));
                        assert!(visit.takes.iter().all(|(_, quantity)| (1..=4).contains(quantity)));
                    }
                }
                Plan::OpenStore { products, .. } => {
                    assert!((2..=5).contains(&products.len()) && sold(products));
                }
                Plan::AddProducts { products, .. } => {
                    assert!((1..=3).contains(&products.len()) && sold(products));
                }
                Plan::ChangePrice { price, .. } => assert!(PRICES.contains(&price.minor())),
                Plan::Register { name, sms_number } => assert!(!name.is_empty() && !sms_number.is_empty()),
                Plan::RebrandStore { name, .. } | Plan::RebrandProduct { name, .. } => {
                    assert!(!name.is_empty());
                }
            }
        }
    }

    #[test]
    fn a_pick_from_an_empty_shelf_is_nothing() {
        assert_eq!(Pick(5).of::<u8>(&[]), None);
        assert_eq!(Pick(5).of(&[1, 2, 3]), Some(&3));
        assert_eq!(Pick(u32::MAX).of(&[1]), Some(&1));
    }

    #[test]
    fn when_enough_was_bought_shoppers_only_look() {
        let plan = plans(2, 0, 100).into_iter().find(|plan| plan.behaviour() == Behaviour::Buy).unwrap();
        assert_eq!(plan.only_looking().behaviour(), Behaviour::Browse);
    }
}
