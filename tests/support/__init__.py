"""What tests of several levels share: real servers, builders, checkers."""
