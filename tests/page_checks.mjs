// How the page's tests in Node run.

/** Checks by name, each of which throws where something is wrong -> what was wrong, or null. */
export function foundBy(checks) {
  const found = {};
  for (const [name, check] of Object.entries(checks)) {
    try {
      check();
      found[name] = null;
    } catch (error) {
      found[name] = String(error.stack);
    }
  }
  return found;
}
