mod canary;
mod fixture;
mod provider;
mod renewing;
mod resolving;
