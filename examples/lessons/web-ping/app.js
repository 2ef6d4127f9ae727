// Asks a web site again and again whether it is there, and tells how long the answer took.
const http = require('http');
const https = require('https');

const target = process.env.TARGET;
const method = process.env.METHOD;
const interval = Number(process.env.INTERVAL);
const client = process.env.PLAIN_HTTP ? http : https;

console.log(`** web-ping ** Pinging: ${target}; method: ${method}; ${interval}ms intervals`);

let pings = 0;

function ping() {
    pings += 1;
    const started = Date.now();
    console.log(`Making request number: ${pings}; at ${started}`);
    const request = client.request({ host: target, method, timeout: interval }, (response) => {
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
