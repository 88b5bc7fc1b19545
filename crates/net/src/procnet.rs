//! /proc/net.
