// Counts the visits that others report: POST /access-log, GET /stats. With LOG_FILE they are kept there, one line each.
const fs = require('fs');
const http = require('http');
const ms = require('ms');

const port = Number(process.env.PORT || 80);
const file = process.env.LOG_FILE;
const started = Date.now();
let logs = file && fs.existsSync(file) ? fs.readFileSync(file, 'utf8').split('\n').length - 1 : 0;

function answer(response, status, body) {
    response.writeHead(status, { 'Content-Type': 'application/json' });
    response.end(JSON.stringify(body));
}

const server = http.createServer((request, response) => {
    if (request.method === 'POST' && request.url === '/access-log') {
        let body = '';
        request.on('data', (chunk) => { body = (body + chunk).slice(0, 4096); });
        request.on('end', () => {
            logs += 1;
            if (file) fs.appendFileSync(file, JSON.stringify(body) + '\n');
            console.log(`Access log, client IP: ${body}`);
            answer(response, 201, { logs });
        });
    } else if (request.url === '/stats') {
        answer(response, 200, { logs, up: ms(Date.now() - started) });
    } else {
        answer(response, 404, { error: 'ask for /stats' });
    }
});

server.listen(port, () => console.log(`access-log: listening on port ${port}`));
process.on('SIGTERM', () => server.close(() => process.exit(0)));
