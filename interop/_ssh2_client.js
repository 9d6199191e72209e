// Part of ssh_clients.py: one action of the npm package ssh2, as a command.
//
// The argument is JSON: {port, user, key, hostKey, action, command, pty, agent, target, listen, count, rekey}. What comes from the far end goes to
// standard output and error, the exit status is the command's; 255 if the login fails.

'use strict';

const fs = require('fs');
const net = require('net');
const { Client } = require('ssh2');

const spec = JSON.parse(process.argv[2]);
const options = {
  host: '127.0.0.1', port: spec.port, username: spec.user, privateKey: fs.readFileSync(spec.key),
  hostVerifier: (key) => key.equals(Buffer.from(spec.hostKey, 'base64')), readyTimeout: 20000,
  ...(spec.agent ? { agent: spec.agent, agentForward: true } : {}),
};

function fail(error) {
  process.stderr.write(`${error.message || error}\n`);
  process.exit(255);
}

function connect(more, use) {
  const client = new Client();
  client.handshakes = 0;
  client.on('handshake', () => {
    client.handshakes += 1;
    if (spec.rekey) process.stderr.write('new keys\n');
  });
  client.on('ready', () => use(client)).on('error', fail).connect({ ...options, ...more });
  return client;
}

function finish(client, code, signal) {
  // What asks for new keys stands behind all that was sent before.
  if (spec.rekey && client.handshakes < 2) return client.once('handshake', () => finish(client, code, signal));
  client.end();
  process.exitCode = signal ? 128 : code;
}

function pipe(client, stream, rekeyBytes) {
  let seen = 0, next = rekeyBytes;
  stream.on('data', (piece) => {
    seen += piece.length;
    if (rekeyBytes && seen >= next) {
      next += rekeyBytes;
      // The documentation has client.rekey(), the package does not.
      client._protocol.rekey();
    }
  });
  stream.pipe(process.stdout);
  if (stream.stderr) stream.stderr.pipe(process.stderr);
  process.stdin.pipe(stream);
}

const actions = {
  exec(client) {
    client.exec(spec.command, { pty: spec.pty }, (error, stream) => {
      if (error) return fail(error);
      stream.on('exit', (code, signal) => { stream.ended = [code, signal]; });
      stream.on('close', () => finish(client, ...(stream.ended || [1])));
      pipe(client, stream, spec.rekey);
    });
  },
  shell(client) {
    client.shell(false, (error, stream) => {
      if (error) return fail(error);
      stream.on('close', () => finish(client, 0));
      pipe(client, stream);
    });
  },
  many(client) {
    const found = [];
    for (let index = 0; index < spec.count; index++) {
      client.exec(`echo m${index}`, (error, stream) => {
        if (error) return fail(error);
        let text = '';
        stream.on('data', (piece) => { text += piece; }).on('close', () => {
          found.push([index, text]);
          if (found.length === spec.count) {
            process.stdout.write(JSON.stringify(found.sort((a, b) => a[0] - b[0]).map((pair) => pair[1])));
            finish(client, 0);
          }
        });
      });
    }
  },
  local(client) {
    const server = net.createServer((near) => {
      client.forwardOut('127.0.0.1', 1, '127.0.0.1', spec.target, (error, far) => {
        if (error) return near.destroy();
        near.pipe(far).pipe(near);
      });
    });
    server.listen(spec.listen, '127.0.0.1');
  },
  remote(client) {
    client.on('tcp connection', (_, accept) => {
      const far = accept();
      const near = net.connect(spec.target, '127.0.0.1');
      near.pipe(far).pipe(near);
    });
    client.forwardIn('127.0.0.1', spec.listen, (error) => { if (error) fail(error); });
  },
  stdio(client) {
    client.forwardOut('127.0.0.1', 1, '127.0.0.1', spec.target, (error, stream) => {
      if (error) return fail(error);
      stream.on('close', () => finish(client, 0));
      pipe(client, stream);
    });
  },
  jump(client) {
    client.forwardOut('127.0.0.1', 1, '127.0.0.1', spec.port, (error, sock) => {
      if (error) return fail(error);
      connect({ sock }, (inner) => {
        inner.on('close', () => client.end());
        actions.exec(inner);
      });
    });
  },
};

connect({}, actions[spec.action]);
