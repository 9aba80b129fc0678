/**
 * Returns the exponential moving average, corrected for its start (Kingma and Ba 2015, arXiv:1412.6980, section 3):
 *
 *     m_t = w·m_(t-1) + (1 - w)·x_t,   y_t = m_t / (1 - w^t)
 *
 * `weight` is w, from 0 (no smoothing) to below 1. A NaN is a step without a value: it stays NaN and is not counted.
 */
export function smooth(values: Float64Array, weight: number): Float64Array {
  const smoothed = new Float64Array(values.length);
  let mean = 0;
  let correction = 1;
  for (let at = 0; at < values.length; at += 1) {
    const value = values[at] ?? NaN;
    if (Number.isNaN(value)) {
      smoothed[at] = NaN;
      continue;
    }
    mean = weight * mean + (1 - weight) * value;
    correction *= weight;
    smoothed[at] = mean / (1 - correction);
  }
  return smoothed;
}
