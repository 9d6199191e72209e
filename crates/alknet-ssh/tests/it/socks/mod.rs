//! The proxy, as its clients see it.

mod datagrams;
mod fixture;
mod http;
mod request;
mod udp_service;
