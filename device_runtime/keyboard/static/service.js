// Talks to this machine's keyboard. Every failure becomes a Trouble: one sentence for the person.

export class Trouble extends Error {}

const STOPPED = "The keyboard has stopped. Start it again: keychorus device keyboard";

async function call(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble(STOPPED);
  }
  if (response.ok) return response.json();
  const problem = await response.json().catch(() => ({}));
  throw new Trouble(problem.detail || STOPPED);
}

export function get(path) {
  return call(path, {});
}

export function post(path, body, signal) {
  return call(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal });
}
