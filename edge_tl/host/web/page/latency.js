// Latency of one call in this browser, with the clock's step and an interval. It knows no image.

/** {median_ms, median_ci_ms, p90_ms, n, warm_up, step_ms, batch}: `run` is timed for about `seconds`, at least 20
 * samples. Where one call takes less than ten steps of the clock, a sample is the mean of `batch` calls, and no call's
 * p90 is known: it is null. */
export async function measure(run, {seconds = 4, warmUp = 10, progress = () => {}} = {}) {
  const step = clockStep();
  let once = Infinity;
  for (let i = 0; i < warmUp; i++) once = Math.min(once, await timed(run, 1));
  const batch = once >= 10 * step ? 1 : Math.ceil((10 * step) / Math.max(once, step / 10));
  const samples = [];
  const until = performance.now() + 1000 * seconds;
  while ((performance.now() < until || samples.length < 20) && samples.length < 2000) {
    samples.push((await timed(run, batch)) / batch);
    if (samples.length % 10 === 0) {
      progress(samples.length);
      await new Promise((resolve) => setTimeout(resolve)); // the page stays alive; not inside a sample
    }
  }
  samples.sort((a, b) => a - b);
  return {
    median_ms: quantile(samples, 0.5),
    median_ci_ms: medianInterval(samples),
    p90_ms: batch === 1 ? quantile(samples, 0.9) : null,
    n: samples.length, warm_up: warmUp, step_ms: step, batch,
  };
}

async function timed(run, times) {
  const start = performance.now();
  for (let i = 0; i < times; i++) await run();
  return performance.now() - start;
}

/** The least difference that this browser's clock shows, in milliseconds: browsers make it coarse. */
function clockStep() {
  let least = Infinity;
  for (let i = 0; i < 20; i++) {
    const start = performance.now();
    let now = start;
    while (now === start) now = performance.now();
    least = Math.min(least, now - start);
  }
  return least;
}

/** Of sorted values, between the two nearest. */
export function quantile(sorted, share) {
  const at = share * (sorted.length - 1);
  const low = Math.floor(at);
  return sorted[low] + (at - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
}

/** A 95 % interval of the median from its order statistics (binomial, normal approximation): it supposes no
 * distribution, but calls that do not depend on each other, which neighbours in time do. */
export function medianInterval(sorted) {
  const n = sorted.length;
  const reach = 0.98 * Math.sqrt(n);
  return [sorted[Math.max(Math.floor(n / 2 - reach), 0)], sorted[Math.min(Math.ceil(n / 2 + reach), n - 1)]];
}
