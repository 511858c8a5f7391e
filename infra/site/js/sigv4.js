// Signs a request as AWS asks for (IAM User Guide, "Create a signed AWS API request").

const encoder = new TextEncoder();
const hex = (bytes) => [...new Uint8Array(bytes)].map((b) => b.toString(16).padStart(2, "0")).join("");
const sha256 = async (text) => hex(await crypto.subtle.digest("SHA-256", encoder.encode(text)));

async function hmac(key, text) {
  const raw = typeof key === "string" ? encoder.encode(key) : key;
  const made = await crypto.subtle.importKey("raw", raw, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return crypto.subtle.sign("HMAC", made, encoder.encode(text));
}

// RFC 3986: more than encodeURIComponent escapes.
const escaped = (text) =>
  encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);

// Headers to add to the request. `credentials`: {key, secret, token}; `host` is what the browser
// will send, which no script may set.
export async function signed(credentials, region, method, url, now = new Date()) {
  const { host, pathname, searchParams } = new URL(url);
  const stamp = now.toISOString().replace(/[-:]|\.\d{3}/g, "");
  const day = stamp.slice(0, 8), scope = `${day}/${region}/execute-api/aws4_request`;
  const headers = { host, "x-amz-date": stamp };
  if (credentials.token) headers["x-amz-security-token"] = credentials.token;
  const names = Object.keys(headers).sort();
  const query = [...searchParams].map(([k, v]) => `${escaped(k)}=${escaped(v)}`).sort().join("&");
  const canonical = [
    // Each segment is escaped twice: as it is in the address, and again here.
    method, pathname.split("/").map(escaped).join("/"), query,
    ...names.map((name) => `${name}:${headers[name].trim()}`), "",
    names.join(";"), await sha256(""), // none of our requests has a body
  ].join("\n");
  const toSign = ["AWS4-HMAC-SHA256", stamp, scope, await sha256(canonical)].join("\n");
  let key = `AWS4${credentials.secret}`;
  for (const part of [day, region, "execute-api", "aws4_request"]) key = await hmac(key, part);
  const signature = hex(await hmac(key, toSign));
  const { host: _, ...sent } = headers;
  sent.Authorization = `AWS4-HMAC-SHA256 Credential=${credentials.key}/${scope}, `
    + `SignedHeaders=${names.join(";")}, Signature=${signature}`;
  return sent;
}
