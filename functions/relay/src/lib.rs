//! From the event table's stream to the bus: nothing acknowledged unless accepted.
