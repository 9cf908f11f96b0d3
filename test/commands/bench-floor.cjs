// The floor of a cold login: the same call to EC2 with nothing but Node, and a look whether the answer has a connection.

const { createHash, createHmac } = require("node:crypto");
const { request } = require("node:https");

/** @param {Record<string, string>} event a client connect request */
exports.handler = async (event) => {
  const { AWS_ENDPOINT_URL_EC2: url = "", AWS_REGION: region = "", AWS_ACCESS_KEY_ID: keyId = "" } = process.env;
  const body = new URLSearchParams({
    Action: "DescribeClientVpnConnections",
    Version: "2016-11-15",
    ClientVpnEndpointId: event["endpoint-id"] ?? "",
    "Filter.1.Name": "username",
    "Filter.1.Value.1": event.username ?? "",
    MaxResults: "1000",
  }).toString();
  const { host } = new URL(url);
  const date = new Date().toISOString().replace(/[-:]|\.\d+/g, "");
  const scope = `${date.slice(0, 8)}/${region}/ec2/aws4_request`;
  const canonical = `POST\n/\n\nhost:${host}\nx-amz-date:${date}\n\nhost;x-amz-date\n${sha256(body)}`;
  const toSign = `AWS4-HMAC-SHA256\n${date}\n${scope}\n${sha256(canonical)}`;
  /** @type {string | Buffer} */
  let key = `AWS4${process.env.AWS_SECRET_ACCESS_KEY}`;
  for (const part of scope.split("/")) key = createHmac("sha256", key).update(part).digest();
  const signature = createHmac("sha256", key).update(toSign).digest("hex");
  const headers = {
    "content-type": "application/x-www-form-urlencoded",
    "x-amz-date": date,
    authorization: `AWS4-HMAC-SHA256 Credential=${keyId}/${scope}, SignedHeaders=host;x-amz-date, Signature=${signature}`,
  };
  const answer = await new Promise((resolve, reject) => {
    const call = request(url, { method: "POST", headers }, (response) => {
      let xml = "";
      response.setEncoding("utf8").on("data", (chunk) => {
        xml += chunk;
      });
      response.on("end", () => resolve(xml));
    });
    call.on("error", reject).end(body);
  });
  return { allow: answer.includes("<connections/>") };
};

/** @param {string} text */
function sha256(text) {
  return createHash("sha256").update(text).digest("hex");
}
