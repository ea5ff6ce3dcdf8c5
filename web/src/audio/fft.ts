// The Fourier transform of real signals.

/**
 * Transforms of one even size, by a complex transform of half that size whose prime factors are
 * taken one by one: quick where they are small. Not for sizes with large prime factors.
 */
export class RealFft {
  /** Of a spectrum: size / 2 + 1. */
  readonly bins: number;
  private readonly half: number;
  // exp(-2 pi i n / size), n below `size`
  private readonly cosines: Float64Array;
  private readonly sines: Float64Array;
  private readonly factors: number[];
  // Of the half-size transform: its input and its output, and what one butterfly takes.
  private readonly input: [re: Float64Array, im: Float64Array];
  private readonly output: [re: Float64Array, im: Float64Array];
  private readonly taken: [re: Float64Array, im: Float64Array];

  /** Throws RangeError unless `size` is even and above 0. */
  constructor(readonly size: number) {
    if (!(size > 0 && size % 2 === 0)) throw new RangeError(`size must be even, got ${size}`);
    const half = size / 2;
    this.half = half;
    this.bins = half + 1;
    this.cosines = Float64Array.from({ length: size }, (_, n) =>
      Math.cos((2 * Math.PI * n) / size),
    );
    this.sines = Float64Array.from({ length: size }, (_, n) => -Math.sin((2 * Math.PI * n) / size));
    this.factors = primeFactors(half);
    this.input = [new Float64Array(half), new Float64Array(half)];
    this.output = [new Float64Array(half), new Float64Array(half)];
    const largest = Math.max(1, ...this.factors);
    this.taken = [new Float64Array(largest), new Float64Array(largest)];
  }

  /** signal [size] -> re, im [bins], written into the arrays that are given. */
  forward(signal: ArrayLike<number>, re: Float64Array, im: Float64Array): void {
    const half = this.half;
    // Even samples are the real part of a signal of half the size, odd ones its imaginary part.
    for (let n = 0; n < half; n++) {
      this.input[0][n] = signal[2 * n];
      this.input[1][n] = signal[2 * n + 1];
    }
    this.transform(0, 0, 1, 0);
    const [zRe, zIm] = this.output;
    for (let k = 0; k <= half; k++) {
      const at = k % half;
      const mirrored = (half - k) % half;
      const evenRe = (zRe[at] + zRe[mirrored]) / 2;
      const evenIm = (zIm[at] - zIm[mirrored]) / 2;
      const oddRe = (zIm[at] + zIm[mirrored]) / 2;
      const oddIm = (zRe[mirrored] - zRe[at]) / 2;
      const c = this.cosines[k];
      const s = this.sines[k];
      re[k] = evenRe + oddRe * c - oddIm * s;
      im[k] = evenIm + oddRe * s + oddIm * c;
    }
  }

  /**
   * re, im [bins] -> the signal [size] that `forward` would take them from. The imaginary parts of
   * the first and the last bin are ignored.
   */
  inverse(re: Float64Array, im: Float64Array): Float64Array {
    const half = this.half;
    for (let k = 0; k < half; k++) {
      const mirrored = half - k;
      const imHere = k === 0 ? 0 : im[k];
      const imThere = k === 0 ? 0 : im[mirrored];
      const evenRe = (re[k] + re[mirrored]) / 2;
      const evenIm = (imHere - imThere) / 2;
      const differenceRe = (re[k] - re[mirrored]) / 2;
      const differenceIm = (imHere + imThere) / 2;
      const c = this.cosines[k];
      const s = -this.sines[k];
      const oddRe = differenceRe * c - differenceIm * s;
      const oddIm = differenceRe * s + differenceIm * c;
      // Conjugated, so that the forward transform is the inverse one.
      this.input[0][k] = evenRe - oddIm;
      this.input[1][k] = -(evenIm + oddRe);
    }
    this.transform(0, 0, 1, 0);
    const signal = new Float64Array(this.size);
    for (let n = 0; n < half; n++) {
      signal[2 * n] = this.output[0][n] / half;
      signal[2 * n + 1] = -this.output[1][n] / half;
    }
    return signal;
  }

  /**
   * Transforms every `stride`-th value of the input from `from` on into the output from `to` on.
   * depth: how many prime factors have been taken.
   */
  private transform(from: number, to: number, stride: number, depth: number): void {
    const [inRe, inIm] = this.input;
    const [outRe, outIm] = this.output;
    if (depth === this.factors.length) {
      outRe[to] = inRe[from];
      outIm[to] = inIm[from];
      return;
    }
    const radix = this.factors[depth];
    const length = this.half / stride;
    const part = length / radix;
    for (let r = 0; r < radix; r++) {
      this.transform(from + r * stride, to + r * part, stride * radix, depth + 1);
    }
    const { cosines, sines, size } = this;
    if (radix === 2) {
      // As below, in a third of its time.
      for (let k = 0; k < part; k++) {
        const even = to + k;
        const odd = even + part;
        const turn = 2 * stride * k;
        const turnedRe = outRe[odd] * cosines[turn] - outIm[odd] * sines[turn];
        const turnedIm = outRe[odd] * sines[turn] + outIm[odd] * cosines[turn];
        outRe[odd] = outRe[even] - turnedRe;
        outIm[odd] = outIm[even] - turnedIm;
        outRe[even] += turnedRe;
        outIm[even] += turnedIm;
      }
      return;
    }
    const [re, im] = this.taken;
    for (let k = 0; k < part; k++) {
      for (let r = 0; r < radix; r++) {
        re[r] = outRe[to + r * part + k];
        im[r] = outIm[to + r * part + k];
      }
      for (let q = 0; q < radix; q++) {
        const bin = k + q * part;
        let sumRe = re[0];
        let sumIm = im[0];
        for (let r = 1; r < radix; r++) {
          const turn = (r * bin * stride * 2) % size;
          sumRe += re[r] * cosines[turn] - im[r] * sines[turn];
          sumIm += re[r] * sines[turn] + im[r] * cosines[turn];
        }
        outRe[to + bin] = sumRe;
        outIm[to + bin] = sumIm;
      }
    }
  }
}

function primeFactors(number: number): number[] {
  const factors = [];
  for (let factor = 2; number > 1; factor++) {
    for (; number % factor === 0; number /= factor) factors.push(factor);
  }
  return factors;
}
