import os
import pickle
import pickletools
import tracemalloc

import numpy as np
import pytest

from data_prep.formats import restricted_pickle

PROTOCOLS = range(6)


class Attack:
    """Would make a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_lists_of_bytes_and_flags(protocol):
    faces = [np.random.default_rng(i).bytes(300) for i in range(40)] + [b""]
    flags = [True, False, True]
    assert restricted_pickle.loads(pickle.dumps((faces, flags), protocol)) == (faces, flags)


def test_strings_of_python_2_are_bytes():
    python2 = b"\x80\x02]q\x00(U\x04\xff\xd8\x00\x01q\x01T\x04\x00\x00\x00abcdq\x02e]q\x03(\x88\x89e\x86q\x04."
    assert restricted_pickle.loads(python2) == ([b"\xff\xd8\x00\x01", b"abcd"], [True, False])
    assert restricted_pickle.loads(b"(lp0\nS'\\xff\\xd8'\np1\naI01\naI00\na.") == [b"\xff\xd8", True, False]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays(protocol):
    rng = np.random.default_rng(0)
    arrays = [
        rng.integers(0, 256, (5, 4), np.uint8),
        np.asfortranarray(rng.normal(size=(3, 2))),
        np.arange(3, dtype=">i4"),
    ]
    read = restricted_pickle.loads(pickle.dumps((arrays, [np.bool_(True), np.int64(7)]), protocol))
    for array, expected in zip(read[0], arrays, strict=True):
        np.testing.assert_array_equal(array.value, expected)
    assert read[1] == [True, 7]


def test_arrays_of_numpy_1_and_python_2():
    # as numpy 1 in Python 2 names its parts, and writes text as bytes
    python2 = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x03\x85cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x03abctb."
    )
    assert restricted_pickle.loads(python2).value.tobytes() == b"abc"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_code_does_not_run(protocol, tmp_path):
    with pytest.raises(ValueError, match="system"):
        restricted_pickle.loads(pickle.dumps(([Attack(tmp_path / "made")], [True]), protocol))
    assert not (tmp_path / "made").exists()
    pickle.loads(pickle.dumps(Attack(tmp_path / "made"), protocol))  # the attack is a real one
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "program",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"(S'true'\nios\nsystem\n.",  # INST
        b"(cos\nsystem\nS'true'\no.",  # OBJ
        b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.",
        b"\x80\x02cnumpy\nndarray\n)\x81.",  # NEWOBJ
        b"\x80\x04\x8c\x07numpy.f\x8c\x04load\x93.",
        b"\x80\x02\x82\x01.",  # a registered extension
        b"\x80\x02Pid\n.",  # a persistent object
        b"\x80\x02]}X\x01\x00\x00\x00aK\x01sb.",  # BUILD: sets attributes of a list
        b"\x80\x02c_codecs\nencode\n}X\x0c\x00\x00\x00__defaults__K\x01s\x86b.",  # ... of a function of the reader
        b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00utf-7\x86R.",
        b"\x80\x02cnumpy\ndtype\nX\x01\x00\x00\x00O\x85R.",  # arrays of objects
        b"\x80\x02cnumpy\ndtype\nX\x04\x00\x00\x00V999\x85R.",
    ],
)
def test_instructions_that_image_data_do_not_need(program):
    with pytest.raises(ValueError, match="pickle"):
        restricted_pickle.loads(program)


def test_arrays_that_lie_about_their_size():
    array = pickle.dumps(np.zeros(3, np.uint8), 2)
    huge = array.replace(b"K\x03\x85", b"\x8a\x06\xff\xff\xff\xff\xff\x7f\x85")
    assert huge != array
    with pytest.raises(ValueError, match="bytes than its shape"):
        restricted_pickle.loads(huge)
    negative = array.replace(b"K\x03\x85", b"J\xff\xff\xff\xff\x85")
    with pytest.raises(ValueError, match="lengths"):
        restricted_pickle.loads(negative)


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.",  # bytes, 2^63 - 1 of them
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.",  # a frame as long
        b"\x80\x02Nr\xff\xff\xff\x7f.",  # the memo's entry 2^31 - 1
    ],
)
def test_sizes_and_indices_reserve_nothing(program):
    tracemalloc.start()
    try:
        restricted_pickle.loads(program)
    except ValueError as error:
        assert "pickle" in str(error)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_what_would_be_endless_when_written_out_is_told_in_a_line():
    doubled = b"0h\x00h\x00\x86q\x00" * 60  # a pair of pairs of pairs ...
    program = b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00a]q\x00" + doubled + b"\x86R."
    with pytest.raises(ValueError, match="latin1") as refused:
        restricted_pickle.loads(program)
    assert len(str(refused.value)) < 300


def test_truncated():
    data = pickle.dumps(([b"a" * 100] * 10, [True] * 5), 4)
    assert len(list(pickletools.genops(data))) > 10
    for length in range(0, len(data) - 1, 7):
        with pytest.raises(ValueError, match="pickle"):
            restricted_pickle.loads(data[:length])
