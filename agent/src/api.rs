//! The gRPC server of `fairway.node.v1.Node`: status, listings, trace.
