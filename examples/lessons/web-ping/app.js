// Asks a web site again and again whether it is there, and tells how long the answer took.
const http = require('http');
const https = require('https');

const target = process.env.TARGET;
const method = process.env.METHOD;
const interval = Number(process.env.INTERVAL);
const client = process.env.PLAIN_HTTP ? http : https;
// TARGET is a host, with a port if need be: `blog.sixeyed.com`, `localhost:8080`.
const address = new URL(`${process.env.PLAIN_HTTP ? 'http' : 'https'}://${target}`);

console.log(`** web-ping ** Pinging: ${target}; method: ${method}; ${interval}ms intervals`);

let pings = 0;

function ping() {
    pings += 1;
    const started = Date.now();
    console.log(`Making request number: ${pings}; at ${started}`);
    const request = client.request(address, { method, timeout: interval }, (response) => {
        response.resume();
        console.log(`Got response status: ${response.statusCode} at ${Date.now()}; duration: ${Date.now() - started}ms`);
    });
    request.on('timeout', () => request.destroy(new Error('no answer in time')));
    request.on('error', (error) => console.log(`Failed: ${error.message}`));
    request.end();
}

ping();
setInterval(ping, interval);
process.on('SIGTERM', () => process.exit(0));
