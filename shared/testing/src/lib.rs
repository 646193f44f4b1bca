//! Test kit: given/when/then, deterministic ports, the embedded DynamoDB, hostile delivery.
