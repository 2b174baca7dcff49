//! The generated code, which nothing outside this crate sees.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated from proto/control.proto, which has the comments"
)]

tonic::include_proto!("pantala.control.v1");
