"""Transforms of images and tables."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ferrum as fe
from ferrum.errors import ArgumentError, DTypeError, OperandError, ShapeError
from ferrum_nn.data import DataLoader, TensorDataset
from ferrum_nn.data import transforms as T
from ferrum_nn.data.transforms.affine import _inverse, _places, sample

SHAPES = [(6, 5), (2, 6, 5), (4, 2, 6, 5), (3, 4, 1, 6, 5)]
IMAGES = [
    T.RandomHorizontalFlip(),
    T.RandomVerticalFlip(0.3),
    T.RandomCrop(4, padding=1),
    T.RandomCrop((4, 9), pad_if_needed=True),
    T.CenterCrop((3, 7)),
    T.Pad((1, 2)),
    T.Pad((1, 2, 3, 0), padding_mode="reflect"),
    T.RandomAffine(30, (0.1, 0.2), (0.8, 1.2), (-5, 5, -3, 3), "bilinear"),
    T.RandomAffine((0, 90), shear=10),
    T.RandomErasing(1.0, value="random"),
]


def image(*shape, dtype=fe.float32):
    return fe.arange(int(np.prod(shape))).reshape(shape).to(dtype)


@pytest.mark.parametrize("transform", IMAGES, ids=repr)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [fe.float32, fe.float64, fe.uint8, fe.bfloat16])
def test_every_form_of_image(transform, shape, dtype):
    x = image(*shape, dtype=dtype)
    before = x.tolist()
    fe.manual_seed(1)
    out = transform(x)
    assert out.dtype is dtype
    assert out.shape[:-2] == shape[:-2]
    fe.manual_seed(1)
    assert out.tolist() == transform(x).tolist()
    out.fill_(0)  # memory of its own
    assert x.tolist() == before


@pytest.mark.parametrize("transform", IMAGES, ids=repr)
def test_no_images(transform):
    shape = transform(fe.zeros(2, 3, 6, 5)).shape
    assert transform(fe.zeros(0, 3, 6, 5)).shape == (0, *shape[1:])


def test_each_image_of_a_batch_has_draws_of_its_own():
    x = fe.arange(12.0).reshape(3, 4).expand(64, 3, 4)
    for batched, expected in ((True, 2), (None, 1), (False, 1)):
        flip = T.RandomHorizontalFlip(batched=batched, generator=fe.Generator(2))
        assert len({str(each.tolist()) for each in flip(x)}) == expected
    four = T.RandomAffine(45, generator=fe.Generator(2))(x.unsqueeze(1))
    assert len({str(each.tolist()) for each in four}) > 5
    one = T.RandomAffine(45, batched=False, generator=fe.Generator(2))(x.unsqueeze(1))
    assert len({str(each.tolist()) for each in one}) == 1


def test_flips():
    x = image(2, 3)
    assert T.RandomHorizontalFlip(1.0)(x).tolist() == [[2, 1, 0], [5, 4, 3]]
    assert T.RandomVerticalFlip(1.0)(x).tolist() == [[3, 4, 5], [0, 1, 2]]
    assert T.RandomHorizontalFlip(0.0)(x).tolist() == x.tolist()


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
def test_pad(mode):
    x = image(3, 4)
    expected = np.pad(x.numpy(), ((2, 1), (1, 2)), mode)
    assert T.Pad((1, 2, 2, 1), padding_mode=mode)(x).tolist() == expected.tolist()
    assert T.Pad(1, fill=7)(x).tolist() == np.pad(x.numpy(), 1, constant_values=7).tolist()
    assert T.Pad(1, fill=(1, 2))(fe.zeros(2, 1, 1))[:, 0, 0].tolist() == [1, 2]


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
def test_crops_show_a_part(height, width, down, along):
    x = image(height, width) + 1
    center = T.CenterCrop((down, along))(x)
    crop = T.RandomCrop((down, along), pad_if_needed=True)(x)
    assert center.shape == crop.shape == (down, along)
    if down <= height and along <= width:
        step = (crop[:, 1:] - crop[:, :-1]).tolist()
        assert all(each == 1 for row in step for each in row)
        top, left = round((height - down) / 2), round((width - along) / 2)
        assert center.tolist() == x[top : top + down, left : left + along].tolist()
    if down >= height and along >= width:
        assert center.sum() == x.sum()
        assert crop.sum() == x.sum()


def test_every_place_of_a_crop_comes():
    x = image(1, 3, 3).expand(400, 1, 3, 3)
    corners = T.RandomCrop(2, generator=fe.Generator(1))(x)[:, 0, 0, 0]
    assert sorted(set(corners.tolist())) == [0, 1, 3, 4]


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_affine_by_known_amounts(interpolation):
    x = image(5, 5)
    array = x.numpy()

    def moved(**options):
        return T.RandomAffine(**{"degrees": 0, "interpolation": interpolation, **options})(x)

    assert moved().tolist() == array.tolist()
    turned = moved(degrees=(90, 90))
    np.testing.assert_allclose(turned.numpy(), np.rot90(array, -1), atol=1e-4)  # clockwise
    twice = T.RandomAffine(0, scale=(2, 2), interpolation=interpolation)(fe.ones(4, 4))
    assert (twice == 1).all()
    half = moved(scale=(0.5, 0.5), fill=9).numpy()
    assert half[2, 2] == array[2, 2]
    assert half[0, 0] == 9
    corner = moved(degrees=(180, 180), center=(0.5, 0.5), fill=-1)
    np.testing.assert_allclose(corner.numpy()[0, 0], array[0, 0], atol=1e-4)
    assert corner.numpy()[3, 3] == -1


def test_affine_moves_by_whole_pixels():
    x = fe.zeros(300, 1, 9, 9)
    x[:, :, 4, 4] = 1
    out = T.RandomAffine(0, translate=(0.3, 0.0), generator=fe.Generator(1))(x)
    assert (out.sum((1, 2, 3)) == 1).all()
    assert sorted(set(out[:, 0, 4].argmax(1).tolist())) == [1, 2, 3, 4, 5, 6, 7]


def test_affine_draws_once():
    generator = fe.Generator(3)
    T.RandomAffine(5, (0.1, 0.1), (0.9, 1.1), 5, generator=generator)(fe.zeros(1, 9, 9))
    other = fe.Generator(3)
    other.next_key()
    assert generator.get_state() == other.get_state()


@pytest.mark.torch
def test_affine_as_pytorch_samples():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    count, height, width = 5, 9, 12
    x = rng.normal(size=(count, 2, height, width))
    angle, scale = rng.uniform(-3, 3, count), rng.uniform(0.6, 1.4, count)
    lean = rng.uniform(-0.4, 0.4, (2, count))
    moves = np.rint(rng.uniform(-3, 3, (2, count)))
    inverse = _inverse(angle, lean[0], lean[1], scale)
    half = np.diag([width / 2, height / 2])
    theta = np.zeros((count, 2, 3))
    for i in range(count):
        cos, sin = np.cos(angle[i]), np.sin(angle[i])
        turn = np.array([[cos, -sin], [sin, cos]])
        lean_x = np.array([[1, -np.tan(lean[0, i])], [0, 1]])
        lean_y = np.array([[1, 0], [-np.tan(lean[1, i]), 1]])
        matrix = np.linalg.inv(turn @ lean_y @ lean_x * scale[i])
        np.testing.assert_allclose(inverse[..., i], matrix, rtol=1e-12, atol=1e-12)
        theta[i, :, :2] = np.linalg.inv(half) @ matrix @ half
        theta[i, :, 2] = np.linalg.inv(half) @ -matrix @ moves[:, i]
    places = _places(inverse, moves, (width / 2, height / 2), height, width)
    grid = torch.nn.functional.affine_grid(torch.tensor(theta), x.shape, align_corners=False)
    out = sample(x, *places, "bilinear", np.zeros((2, 1, 1)))
    expected = torch.nn.functional.grid_sample(torch.tensor(x), grid, align_corners=False)
    np.testing.assert_allclose(out, expected.numpy(), atol=3e-6)


def test_erasing():
    x = fe.ones(200, 3, 12, 10)
    out = T.RandomErasing(0.7, scale=(0.1, 0.3), value=(2, 3, 4), generator=fe.Generator(1))(x)
    erased = (out[:, 0] == 2).numpy()
    assert ((out[:, 1] == 3).numpy() == erased).all()
    parts = erased.mean((1, 2))
    assert 0.55 < (parts > 0).mean() < 0.85
    assert parts.max() <= 0.4
    for each in erased[parts > 0]:  # a rectangle
        rows, columns = each.any(1), each.any(0)
        assert each.sum() == rows.sum() * columns.sum()
    noise = T.RandomErasing(1.0, value="random", generator=fe.Generator(1))(x)
    drawn = noise.numpy()[noise.numpy() != 1]
    assert abs(drawn.mean()) < 0.05
    assert abs(drawn.std() - 1) < 0.05


def test_conversions():
    array = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    out = T.ToTensor()(array)
    assert out.dtype is fe.float32
    np.testing.assert_array_equal(out.numpy(), np.moveaxis(array / np.float32(255), -1, 0))
    assert T.ToImage()(array).dtype is fe.uint8
    assert T.ToImage()(array[..., 0]).shape == (1, 2, 4)
    assert T.ToTensor()(array.astype(np.float64)).dtype is fe.float64
    floats = T.ToDtype(fe.float32, scale=True)
    back = T.ToDtype(fe.uint8, scale=True)
    every = fe.arange(256).to(fe.uint8)
    assert back(floats(every)).tolist() == every.tolist()
    assert T.ToDtype(fe.float32)(every).max() == 255
    chain = T.Compose([T.ToTensor(), T.Lambda(lambda x: x * 2), T.Normalize([1, 1, 1], [2, 2, 2])])
    np.testing.assert_allclose(chain(array).numpy(), out.numpy() - 0.5, rtol=1e-6)
    assert "ToTensor()" in repr(chain)


def test_normalize():
    x = fe.rand(2, 3, 4, 5)
    mean, std = [0.1, 0.2, 0.3], [1.0, 2.0, 4.0]
    expected = (x.numpy() - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    np.testing.assert_allclose(T.Normalize(mean, std)(x).numpy(), expected, rtol=1e-5, atol=1e-6)
    assert T.Normalize(mean, std, inplace=True)(x) is x
    np.testing.assert_allclose(x.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_tables():
    table = fe.tensor(np.random.default_rng(0).normal(3, 5, (50, 4)))
    table[:, 2] = 7.0
    scale = T.Standardize().fit(table)
    out = scale(table)
    np.testing.assert_allclose(out.mean(0).numpy(), 0, atol=1e-12)
    np.testing.assert_allclose(out.std(0, correction=0).numpy(), [1, 1, 0, 1], atol=1e-12)
    np.testing.assert_allclose(scale.inverse(out).numpy(), table.numpy(), rtol=1e-12)
    assert T.OneHot(3)(fe.tensor([2, 0])).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert T.OneHot(3, fe.int64)(1).tolist() == [0, 1, 0]


def test_a_batch_is_augmented_in_a_loader():
    turn = T.RandomAffine(20, interpolation="bilinear")

    class Augmented(TensorDataset):
        def __getitem__(self, i):
            return turn(self.tensors[0][i])

    data = Augmented(fe.rand(6, 1, 8, 8))
    fe.manual_seed(2)
    one = [x.tolist() for x in DataLoader(data, 3)]
    fe.manual_seed(2)
    assert [x.tolist() for x in DataLoader(data, 3)] == one


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: T.RandomHorizontalFlip(1.5), ArgumentError, "a probability from 0 to 1"),
        (lambda: T.RandomVerticalFlip("a"), ArgumentError, "a probability from 0 to 1"),
        (lambda: T.RandomVerticalFlip(np.nan), ArgumentError, "a probability from 0 to 1"),
        (lambda: T.RandomHorizontalFlip(generator=5), OperandError, "expected a Generator"),
        (lambda: T.RandomHorizontalFlip(batched="a"), OperandError, "a bool or None as batched"),
        (lambda: T.RandomHorizontalFlip()(np.ones((3, 3))), OperandError, "got ndarray; ToImage"),
        (lambda: T.RandomHorizontalFlip()(fe.ones(3)), ShapeError, "at least 2 axes"),
        (lambda: T.RandomHorizontalFlip(batched=True)(fe.ones(3, 3)), ShapeError, "3 axes"),
        (lambda: T.Pad(-1), ArgumentError, "integers of at least 0 as padding"),
        (lambda: T.Pad((1, 2, 3)), ArgumentError, "1 or 2 or 4 integers"),
        (lambda: T.Pad(1.5), ArgumentError, "integers of at least 0 as padding"),
        (lambda: T.Pad(1, padding_mode="wrap"), ArgumentError, "as padding_mode, got 'wrap'"),
        (lambda: T.Pad(1, fill=(1, 2))(fe.ones(3, 4, 4)), ArgumentError, "as fill"),
        (lambda: T.Pad(1, padding_mode="edge")(fe.ones(0, 0)), ShapeError, "cannot be padded"),
        (lambda: T.CenterCrop(0), ArgumentError, "integers of at least 1 as size"),
        (lambda: T.CenterCrop("a"), ArgumentError, "integers of at least 1 as size"),
        (lambda: T.RandomCrop((1, 2, 3)), ArgumentError, "1 or 2 integers"),
        (lambda: T.RandomCrop(9)(fe.ones(3, 3)), ShapeError, r"at least \(9, 9\) pixels"),
        (lambda: T.RandomErasing(scale=(0.5, 0.2)), ArgumentError, "from low to high"),
        (lambda: T.RandomErasing(ratio=(0, 1)), ArgumentError, "a ratio above 0"),
        (lambda: T.RandomErasing(value="mean"), ArgumentError, "numbers or 'random'"),
        (lambda: T.RandomAffine("a"), ArgumentError, "finite numbers as degrees"),
        (lambda: T.RandomAffine((5, -5)), ArgumentError, "degrees from low to high"),
        (lambda: T.RandomAffine(np.inf), ArgumentError, "finite numbers as degrees"),
        (lambda: T.RandomAffine(-5), ArgumentError, "degrees from low to high"),
        (lambda: T.RandomAffine(5, (0.1, 2)), ArgumentError, "translate from 0 to 1"),
        (lambda: T.RandomAffine(5, scale=(0, 1)), ArgumentError, "a range of scale above 0"),
        (lambda: T.RandomAffine(5, shear=(1, 2, 3)), ArgumentError, "finite numbers as shear"),
        (lambda: T.RandomAffine(5, interpolation="cubic"), ArgumentError, "got 'cubic'"),
        (lambda: T.RandomAffine(5, center=1), ArgumentError, "finite numbers as center"),
        (lambda: T.Compose(5), OperandError, "a list of functions, got 5"),
        (lambda: T.Compose([5]), OperandError, "a list of functions"),
        (lambda: T.Lambda(5), OperandError, "a function, got 5"),
        (lambda: T.ToImage()(np.ones(3)), ShapeError, r"\(h, w, c\) or \(h, w\), got \(3,\)"),
        (lambda: T.ToTensor()("a"), ShapeError, "expected an array"),
        (lambda: T.Normalize([0], [0]), ArgumentError, "a std without 0"),
        (lambda: T.Normalize([], [1]), ArgumentError, "finite numbers as mean"),
        (lambda: T.Normalize([0, 0], [1, 1])(fe.ones(3, 4, 4)), ShapeError, r"\(..., 2, h, w\)"),
        (lambda: T.Normalize([0], [1])(fe.ones(4, 4)), ShapeError, "expected images"),
        (lambda: T.Normalize([0], [1])(fe.arange(8).reshape(2, 2, 2)), DTypeError, "floating"),
        (lambda: T.Normalize([0], [1])(5), OperandError, "expected a tensor"),
        (lambda: T.ToDtype(fe.int64, True)(fe.ones(3).to(fe.uint8)), DTypeError, "uint8 to int64"),
        (lambda: T.Standardize()(fe.ones(3)), ArgumentError, "first, or a mean and a std"),
        (lambda: T.Standardize().fit(fe.ones(3)), ShapeError, r"a table \(rows, columns\)"),
        (lambda: T.Standardize().fit(fe.ones(0, 3)), ShapeError, r"a table \(rows, columns\)"),
        (lambda: T.Standardize().fit(fe.arange(4).reshape(2, 2)), DTypeError, "floating-point"),
        (lambda: T.Standardize().fit(fe.ones(2, 3))(fe.ones(2)), ShapeError, "rows of 3 columns"),
        (lambda: T.OneHot(0), ArgumentError, "num_classes above 0"),
        (lambda: T.OneHot(2)(fe.tensor([2])), Exception, "one_hot"),
    ],
)
def test_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
