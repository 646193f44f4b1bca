//! The copy of the stores.

use contracts::{Envelope, ids::StoreId, stores::StoreEvent};
use projection::{ApplyError, Projection, row_id};
use serde::{Deserialize, Serialize};

/// The copy: one row for each store.
pub struct Stores;

/// A store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreCopy {
    /// The store.
    pub id: StoreId,
    /// What it is called.
    pub name: String,
    /// Where in the mall it is.
    pub location: String,
    /// Whether it takes part in the mall.
    pub participating: bool,
}

impl Projection for Stores {
    const NAME: &'static str = "store-copies";
    const SCHEMA: u16 = 1;
    const CATEGORY: &'static str = "stores.Store";
    type Row = StoreCopy;

    fn apply(row: Option<StoreCopy>, event: &Envelope) -> Result<StoreCopy, ApplyError> {
        let row = || row.ok_or_else(|| ApplyError::without_row(event));
        match event.event::<StoreEvent>()? {
            StoreEvent::StoreCreated(created) => Ok(StoreCopy {
                id: row_id(event)?,
                name: created.name,
                location: created.location,
                participating: false,
            }),
            StoreEvent::StoreParticipationEnabled(_) => Ok(StoreCopy { participating: true, ..row()? }),
            StoreEvent::StoreParticipationDisabled(_) => Ok(StoreCopy { participating: false, ..row()? }),
            StoreEvent::StoreRebranded(rebranded) => Ok(StoreCopy { name: rebranded.name, ..row()? }),
        }
    }
}
