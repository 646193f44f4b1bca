//! The adapter between AWS Lambda and the use cases: HTTP, direct calls, queues, problems, logs, ports.
