"""The wire: .proto files, the stubs made from them, and the catalogue entries that ship with the product."""
