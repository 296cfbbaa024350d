"""The filter under test with one callback that traps: its body is `unreachable`, and all else is as it was built."""

IMPORTS, EXPORTS, CODE = 2, 7, 10
FUNCTION = 0
END, UNREACHABLE, NOP = 0x0B, 0x00, 0x01


class Reader:
    """The bytes of a module, read from a place on."""

    def __init__(self, module, at=0):
        self.module, self.at = module, at

    def byte(self):
        self.at += 1
        return self.module[self.at - 1]

    def number(self):
        """An unsigned LEB128."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def text(self):
        length = self.number()
        self.at += length
        return self.module[self.at - length:self.at].decode()


def sections(module):
    """Where the content of each section begins, by the section's id."""
    found, reader = {}, Reader(module, 8)
    while reader.at < len(module):
        kind, length = reader.byte(), reader.number()
        found[kind] = reader.at
        reader.at += length
    return found


def imported_functions(module, at):
    """How many functions a module imports: they come first in the count of functions."""
    reader, functions = Reader(module, at), 0
    for _ in range(reader.number()):
        reader.text(), reader.text()
        kind = reader.byte()
        assert kind == FUNCTION, "only functions are imported"
        reader.number()
        functions += 1
    return functions


def exported_function(module, at, name):
    reader = Reader(module, at)
    for _ in range(reader.number()):
        exported, kind, index = reader.text(), reader.byte(), reader.number()
        if (exported, kind) == (name, FUNCTION):
            return index
    raise AssertionError(f"the module exports no function {name}")


def trapping(module, callback):
    """The module whose `callback` traps whenever Envoy calls it."""
    found = sections(module)
    index = exported_function(module, found[EXPORTS], callback) - imported_functions(module, found[IMPORTS])
    reader = Reader(module, found[CODE])
    assert reader.number() > index
    for _ in range(index):
        length = reader.number()
        reader.at += length
    length = reader.number()
    assert length >= 3, "no room for a trap"
    # No locals; what follows the trap is never reached, and keeps every length what it was.
    body = bytes([0, UNREACHABLE, *[NOP] * (length - 3), END])
    return module[:reader.at] + body + module[reader.at + length:]
