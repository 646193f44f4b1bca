//! The payments context.
