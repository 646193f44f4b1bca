//! An invoice with its times, read from its own stream. An aggregate knows no time, so the times are those of
//! its events.

use contracts::{Envelope, ids::InvoiceId, payments::InvoiceEvent};
use kernel::{Aggregate, StreamId, Timestamp, Version};
use lambda::Fault;

use crate::{
    Payments,
    invoice::{Invoice, Moment, Terms},
};

/// An invoice with its times.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    pub(crate) invoice: Invoice,
    pub(crate) version: Version,
    /// The event by which the invoice was made, or ruled out.
    pub(crate) first: Envelope,
    /// The time of the last reminder.
    reminded_at: Option<Timestamp>,
}

impl Record {
    /// Folds the events of a stream, oldest first; `None` if there are none.
    fn of(events: &[Envelope]) -> Result<Option<Self>, Fault> {
        let Some(first) = events.first() else { return Ok(None) };
        let (mut invoice, mut version, mut reminded_at) = (None, first.version, None);
        for envelope in events {
            let event = envelope.event::<InvoiceEvent>().map_err(Fault::internal)?;
            match event {
                InvoiceEvent::InvoiceReminded(_) => reminded_at = Some(envelope.at),
                InvoiceEvent::InvoiceCreated(_)
                | InvoiceEvent::InvoiceAdjusted(_)
                | InvoiceEvent::InvoicePaid(_)
                | InvoiceEvent::InvoiceCanceled(_) => {}
            }
            invoice = Some(Invoice::evolve(invoice, &event).map_err(Fault::internal)?);
            version = envelope.version;
        }
        let first = first.clone();
        Ok(invoice.map(|invoice| Self { invoice, version, first, reminded_at }))
    }

    /// Relates the invoice's times to now.
    pub(crate) fn moment(&self, now: Timestamp, terms: Terms) -> Moment {
        Moment { now, created_at: self.first.at, reminded_at: self.reminded_at, terms }
    }
}

impl Payments {
    /// Reads an invoice as it is now, or as it was at version `then`.
    pub(crate) async fn record(&self, id: InvoiceId, then: Option<Version>) -> Result<Option<Record>, Fault> {
        let mut events = self.store.events_after(&StreamId::of::<Invoice, _>(id), Version::NONE).await?;
        events.retain(|event| then.is_none_or(|then| event.version <= then));
        Record::of(&events)
    }
}
